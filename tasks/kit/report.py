"""Progress is an observer with two pens: a live line on a terminal, a line every ten seconds elsewhere.

Stages are handed a `Report` and say what they are at; who watches, and how, is not their business.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Protocol

LIVE = 0.2  # seconds between two pictures on a terminal
PLAIN = 10.0  # seconds between two lines in a log: enough to see that it lives, few enough to read
WIDTH = 24  # characters of the bar


class Report(Protocol):
    def said(self, text: str) -> None:
        """What the stage is at now."""

    def moved(self, done: int, total: int, unit: str = "B") -> None:
        """How far it is: `done` of `total`, in bytes or in `unit`."""

    def noted(self, text: str) -> None:
        """What whoever reads the run's output later ought to know; it fails nothing."""


class Silent:
    """Nobody watches."""

    def said(self, text: str) -> None: ...

    def moved(self, done: int, total: int, unit: str = "B") -> None: ...

    def noted(self, text: str) -> None: ...


class Pen:
    """Draws the state of one stage from a thread of its own, so that a silent program does not look like a dead one."""

    def __init__(self, name: str, out: IO[str], *, live: bool) -> None:
        self.name, self.out, self.live = name, out, live
        self.began = time.monotonic()
        self.text = ""
        self.progress: tuple[int, int, str] | None = None
        self.moved_since = (self.began, 0)
        self.ended = threading.Event()

    def said(self, text: str) -> None:
        self.text = text
        self.progress = None
        self.moved_since = (time.monotonic(), 0)

    def moved(self, done: int, total: int, unit: str = "B") -> None:
        if self.progress is None:
            self.moved_since = (time.monotonic(), done)
        self.progress = (done, total, unit)

    def noted(self, text: str) -> None:
        self.out.write(("\r\x1b[K" if self.live else "") + f"   {self.name} {text}\n")
        self.out.flush()

    def watch(self) -> None:
        while not self.ended.wait(LIVE if self.live else PLAIN):
            line = self.line()
            if self.live:
                columns = (
                    os.get_terminal_size(self.out.fileno()).columns or 80
                )  # 0: a terminal that does not know
                line = f"\r\x1b[K{line[: columns - 1]}"
            else:
                line += "\n"
            self.out.write(line)
            self.out.flush()
        if self.live:
            self.out.write("\r\x1b[K")
            self.out.flush()

    def line(self) -> str:
        seconds = time.monotonic() - self.began
        parts = [f"   {self.name} [{seconds:.0f} s]", self.text]
        if self.progress:
            parts.append(self.bar(*self.progress))
        return " ".join(part for part in parts if part)

    def bar(self, done: int, total: int, unit: str) -> str:
        share = min(1.0, done / total) if total else 1.0
        full = round(share * WIDTH)
        since, at = self.moved_since
        rate = (done - at) / max(time.monotonic() - since, 1e-3)
        left = f", {(total - done) / rate:.0f} s left" if rate > 0 else ""
        drawn = f"[{'#' * full}{'.' * (WIDTH - full)}] " if self.live else ""
        return f"{drawn}{share:.0%} of {amount(total, unit)}, {amount(rate, unit)}/s{left}"


@contextmanager
def reporting(name: str, out: IO[str] | None = None, *, alone: bool = True) -> Iterator[Report]:
    """A pen for one stage. Several stages at once (`alone` false) share a terminal, so they write lines."""
    out = out or sys.__stderr__
    if out is None:  # no standard error at all: a daemon's child
        yield Silent()
        return
    pen = Pen(name, out, live=alone and out.isatty())
    thread = threading.Thread(target=pen.watch, name=f"report of {name}", daemon=True)
    thread.start()
    try:
        yield pen
    finally:
        pen.ended.set()
        thread.join()


def amount(number: float, unit: str = "B") -> str:
    """1536 -> '1.5 KiB'; other units are counted, not scaled."""
    if unit != "B":
        return f"{number:.0f} {unit}"
    for prefix in ("B", "KiB", "MiB", "GiB"):
        if abs(number) < 1024 or prefix == "GiB":  # noqa: PLR2004 - what the prefixes mean
            break
        number /= 1024
    return f"{number:.0f} {prefix}" if prefix == "B" or number >= 100 else f"{number:.1f} {prefix}"  # noqa: PLR2004 - three digits
