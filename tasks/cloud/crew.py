"""Blocks to a snapshot, from many workers: each has a connection and one block in memory. Sizes are bytes, times seconds."""

import hashlib
import os
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.cloud.pace import Pace
from tasks.cloud.puts import Line, passes, spent, throttles
from tasks.cloud.refusals import asking, code_of
from tasks.kit.fault import CloudFault, ImageFault
from tasks.kit.report import Report
from tasks.plan.delta import Write

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

TRIES = 6  # of one block, at broken connections and server faults; throttles do not count
BACKOFF = (0.2, 5.0)  # the first pause, which doubles, and the longest; each is a random part of that
LOOK = 0.1  # between two looks at how it goes

Acknowledge = Callable[[int, str], None]


class Spent(Exception):
    """The snapshot takes no more blocks: it is deleted (`gone`), given up, or completed by somebody else."""

    def __init__(self, error: "ClientError") -> None:
        super().__init__(str(error))
        self.gone = code_of(error) == "ResourceNotFoundException"


@dataclass(frozen=True)
class Cargo:
    """What goes where."""

    snapshot: str
    image: Path
    block_size: int
    writes: Sequence[Write]


class Crew:
    def __init__(
        self,
        cargo: Cargo,
        line: Callable[[], Line],
        acknowledge: Acknowledge,
        *,
        pace: Pace | None = None,
    ) -> None:
        """`line` makes one for each worker; `acknowledge` is called, from any thread, for each block that EBS has."""
        self.cargo, self.line, self.acknowledge = cargo, line, acknowledge
        self.pace = pace or Pace()
        self.waiting = iter(cargo.writes)
        self.lock = threading.Lock()
        self.done = 0
        self.failure: BaseException | None = None
        self.over = threading.Event()
        self.handle = -1

    def send(self, report: Report, *, before: int = 0) -> None:
        """All of it, or the first failure. `before`: blocks that were there already. Raises Spent, CloudFault, ImageFault."""
        if not self.cargo.writes:
            return
        size, total = self.cargo.block_size, before + len(self.cargo.writes)
        self.handle = os.open(self.cargo.image, os.O_RDONLY)
        workers: list[threading.Thread] = []
        try:
            report.moved(before * size, total * size)
            while not self.over.wait(LOOK):
                self._recruit(workers)
                self.pace.look()
                report.moved((before + self.done) * size, total * size)
        finally:
            self.pace.stop()
            for worker in workers:
                worker.join()
            os.close(self.handle)
        if self.failure:
            raise self.failure
        report.moved(total * size, total * size)

    def _recruit(self, workers: list[threading.Thread]) -> None:
        """Those that the pace allows, and that have something to do."""
        for number in range(len(workers), min(self.pace.allowed, len(self.cargo.writes))):
            worker = threading.Thread(target=self._work, name=f"put {number}")
            workers.append(worker)
            worker.start()

    def _work(self) -> None:
        buffer = memoryview(bytearray(self.cargo.block_size))
        line = self.line()
        try:
            while (write := self._next()) and self._delivered(line, write, self._read(write, buffer)):
                self._count()
        except BaseException as error:  # noqa: BLE001 - it is raised again where the crew was called
            self._fail(error)
        finally:
            line.close()

    def _next(self) -> Write | None:
        with self.lock:
            return next(self.waiting, None)

    def _count(self) -> None:
        with self.lock:
            self.done += 1
            if self.done == len(self.cargo.writes):
                self.over.set()

    def _fail(self, error: BaseException) -> None:
        with self.lock:
            self.failure = self.failure or error
        self.pace.stop()
        self.over.set()

    def _read(self, write: Write, buffer: memoryview) -> memoryview:
        if write.zeros:
            return memoryview(bytes(self.cargo.block_size))
        if os.preadv(self.handle, [buffer], write.index * len(buffer)) != len(buffer):
            raise ImageFault(
                f"{self.cargo.image.name} ends before block {write.index}",
                where=str(self.cargo.image),
                hint="run doit again: it is made anew",
            )
        return buffer

    def _delivered(self, line: Line, write: Write, data: memoryview) -> bool:
        """False when the run is to end before it got through."""
        from botocore.exceptions import BotoCoreError, ClientError

        failures = 0
        with asking(f"send block {write.index}", where=self.cargo.snapshot):
            while self.pace.enter():
                try:
                    line.put(self.cargo.snapshot, write, data)
                except ClientError as error:
                    failures = self._refused(error, write, data, failures)
                except BotoCoreError as error:
                    failures = self._broken(error, failures)
                else:
                    self.acknowledge(write.index, write.sha256)
                    self.pace.got_through()
                    return True
                finally:
                    self.pace.leave()
        return False

    def _broken(self, error: "BotoCoreError", failures: int) -> int:
        """How often it has failed by now; raises what will not be better at the next try."""
        from botocore import exceptions as known

        passing = isinstance(error, known.ConnectionError | known.HTTPClientError)
        if isinstance(error, known.SSLError) or not passing or failures + 1 >= TRIES:
            raise error
        if isinstance(error, known.ReadTimeoutError):
            self.pace.stalled()
        return self._paused(failures + 1)

    def _refused(self, error: "ClientError", write: Write, data: memoryview, failures: int) -> int:
        """As `_broken`, of what EBS itself says. Throttles are no failures."""
        if throttles(error):
            self.pace.throttled()
            return failures
        if spent(error):
            raise Spent(error) from error
        if hashlib.sha256(data).hexdigest() != write.sha256:
            raise ImageFault(
                f"block {write.index} of {self.cargo.image.name} is not what the block list says",
                evidence=(str(error),),
                where=str(self.cargo.image),
                hint="the image was changed after its blocks were listed, or this machine's memory is bad:"
                " delete the block list and run doit again",
            ) from error
        if not passes(error) and "checksum" not in str(error).lower():
            raise error
        if failures + 1 < TRIES:
            return self._paused(failures + 1)
        if passes(error):
            raise error
        raise CloudFault(
            f"EBS refuses the checksum of block {write.index}, {TRIES} times, though it is right here",
            evidence=(str(error),),
            where=self.cargo.snapshot,
            hint="something on the way changes what is sent: a proxy, or bad memory; see to it, and run doit again",
        ) from error

    def _paused(self, failures: int) -> int:
        longest = min(BACKOFF[0] * 2 ** (failures - 1), BACKOFF[1])
        self.pace.pause(random.uniform(0.1, 1) * longest)  # noqa: S311 - no secret
        return failures
