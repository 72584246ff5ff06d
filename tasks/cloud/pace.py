"""How many puts are at work at once: as many as make it faster, fewer when EBS or the network asks to slow down.

On the loopback 8 are as fast as any number; at 100 ms a put it takes about 100 for EBS's 1,000 a second. So the number is
doubled as long as that pays, halved at a throttle, and then raised one by one. Times are seconds.
"""

import random
import threading
import time
from collections.abc import Callable

from tasks.kit.fault import CloudFault

FIRST, MOST = 8, 96
PERIOD = 0.5  # at least, and ROUNDS puts by each: before that a rate says little
ROUNDS = 4
WORTH = 1.2  # of the rate before: less is no gain for twice the connections
AGAIN = 10.0  # until more are tried again, after it did not pay
SOON = 2.0  # until one more is tried, after a throttle
PAUSES = (
    0.25,
    20.0,
)  # of everybody, after a throttle: the first, which doubles as long as nothing gets through; the longest
PATIENCE = 600.0  # with throttles alone and not one block that got through


class Pace:
    """Shared by all workers. `clock` and `pause` are the time; `stop` lets everybody go."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.clock, self.pause = clock, pause
        self.changed = threading.Condition()
        self.allowed, self.at_work = FIRST, 0
        self.stopped = False
        self.resume = 0.0  # when everybody goes on
        self.penalty = 0.0
        self.refused_since: float | None = None
        self.since, self.count = clock(), 0  # of this period
        self.before: tuple[int, float] | None = None  # how many, and how fast, before more were tried
        self.next_try = 0.0
        self.careful = False

    def enter(self) -> bool:
        """Wait until a put may begin; False when all is over. Whoever got True leaves, however it ends."""
        while True:
            with self.changed:
                while self.at_work >= self.allowed and not self.stopped:
                    self.changed.wait()
                left = self.resume - self.clock()
                if self.stopped:
                    return False
                if left <= 0:
                    self.at_work += 1
                    return True
            self.pause(min(left, 1.0))  # in pieces: a run that is to end ends

    def leave(self) -> None:
        with self.changed:
            self.at_work -= 1
            self.changed.notify()

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def got_through(self) -> None:
        with self.changed:
            self.count += 1
            self.refused_since, self.penalty = None, 0.0

    def throttled(self) -> None:
        """Half as many, and a pause for everybody. Raises CloudFault when that has not helped for minutes."""
        with self.changed:
            now = self.clock()
            if self.refused_since is None:
                self.refused_since = now
            if now - self.refused_since >= PATIENCE:
                raise CloudFault(
                    f"EBS has asked to slow down for {(now - self.refused_since) / 60:.0f} minutes, and taken nothing",
                    hint="see what else writes snapshots in this account and region (Service Quotas, EBS direct APIs),"
                    " then run doit again: it goes on where it stopped",
                )
            if now >= self.resume:  # the others' throttles are the same one
                self.penalty = min(max(self.penalty * 2, PAUSES[0]), PAUSES[1])
                self.resume = now + self.penalty * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
                self._fewer(now)

    def stalled(self) -> None:
        """A put took longer than it may: too many share the line."""
        with self.changed:
            now = self.clock()
            if now >= self.next_try or not self.careful:
                self._fewer(now)

    def _fewer(self, now: float) -> None:
        self.allowed = max(1, self.allowed // 2)
        self.before, self.careful, self.next_try = None, True, now + SOON
        self.since, self.count = now, 0

    def look(self) -> None:
        """Judge the last period, when it is over."""
        with self.changed:
            now = self.clock()
            elapsed = now - self.since
            if elapsed < PERIOD or self.count < ROUNDS * self.allowed:
                return
            rate = self.count / elapsed
            if self.before and rate < self.before[1] * WORTH and not self.careful:
                self.allowed, self.before, self.next_try = self.before[0], None, now + AGAIN
            elif now >= self.next_try and self.allowed < MOST:
                self.before = (self.allowed, rate)
                self.allowed = min(self.allowed + 1 if self.careful else self.allowed * 2, MOST)
                self.changed.notify_all()
            self.since, self.count = now, 0
