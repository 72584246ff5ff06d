"""What doit says of a run, and the lock of it. What stages say of themselves is kit/report.py's."""

import errno
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from doit import Globals
from doit.exceptions import BaseFail, InvalidTask
from doit.reporter import ConsoleReporter

from tasks.kit.fault import Fault, HostFault
from tasks.kit.lock import hold
from tasks.kit.proc import ROOM

HINTS = {
    errno.ENOSPC: ROOM,
    errno.EDQUOT: ROOM,
    errno.EACCES: "a folder that another user built in belongs to them: give it to yourself, or build elsewhere",
    errno.EPERM: "a file that another user built belongs to them: give it to yourself, or build elsewhere",
    errno.EROFS: "write another `build` in config/site.yaml",
}
LOOKS = "looks"  # of a task that changes nothing here: others need not wait for it
TITLE = 24  # columns of a task's name in the report


def of_the_host(error: OSError) -> Fault:
    """A full disk and a folder of somebody else's are no bugs of ours. Any other error is raised as it is."""
    if error.errno not in HINTS:
        raise error
    where = str(error.filename or "")
    return HostFault(f"{os.strerror(error.errno)}", where=where, hint=HINTS[error.errno])


class Reporter(ConsoleReporter):  # type: ignore[misc] # doit ships no types
    """One line when a stage starts, with the reason, and one when it ends, with the time. Holds the lock of a run.

    Nothing of the captured output is repeated at the end: a fault has said what there is to say.
    """

    lock: Path

    def __init__(self, outstream: Any, options: Mapping[str, Any]) -> None:
        super().__init__(outstream, options)
        self.began: dict[str, float] = {}
        self.skipped = 0

    def initialize(self, tasks: Mapping[str, Any], selected_tasks: Sequence[str]) -> None:
        if all((tasks[name].meta or {}).get(LOOKS) for name in _alone(tasks, selected_tasks)):
            return
        try:
            self.held = hold(self.lock)
        except Fault as fault:
            raise InvalidTask(str(fault)) from None
        except OSError as error:
            raise InvalidTask(str(of_the_host(error))) from None

    def tell(self, what: str, task: Any, more: str = "") -> None:
        self.outstream.write(f"{what:8}{task.name:{TITLE}} {more}".rstrip() + "\n")
        self.outstream.flush()

    def execute_task(self, task: Any) -> None:
        if task.actions and task.targets:
            self.began[task.name] = time.monotonic()
            self.tell("RUN", task, f"because {'; '.join(_because(task))}")

    def add_success(self, task: Any) -> None:
        _save()
        if task.name in self.began:
            self.tell("DONE", task, f"[{time.monotonic() - self.began[task.name]:.1f} s]")

    def add_failure(self, task: Any, fail: BaseFail) -> None:
        _save()
        self.failures.append({"task": task, "exception": fail})
        seconds = (
            f"[{time.monotonic() - self.began[task.name]:.1f} s]" if task.name in self.began else ""
        )
        self.tell("FAILED", task, seconds)
        self.outstream.write(f"{fail.get_msg().rstrip()}\n")

    def skip_uptodate(self, task: Any) -> None:
        if task.targets:
            self.skipped += 1
            self.tell("SKIPPED", task, "up to date")

    def complete_run(self) -> None:
        if self.runtime_errors:
            self.outstream.write("\n".join(self.runtime_errors) + "\n")
        elif self.skipped and not self.began and not self.failures:
            self.outstream.write(f"nothing to do: {self.skipped} stages are up to date\n")


def _alone(tasks: Mapping[str, Any], selected: Sequence[str]) -> Iterator[str]:
    """The tasks of a run; of a family, its members."""
    for name in selected:
        yield from tasks[name].task_dep if tasks[name].has_subtask else (name,)


def _because(task: Any) -> list[str]:
    """Why a task runs, as doit and the task's own watch see it."""
    reasons = list(getattr(task, "because", ()))
    return (
        reasons
        or [f"{Path(each).name} changed" for each in sorted(task.dep_changed)]
        or ["it was asked for"]
    )


def _save() -> None:
    """doit writes its state once, when all is over; a run that is killed in its third hour would lose the first two.

    Writing closes the database, so it is opened again in place.
    """
    backend = Globals.dep_manager.backend
    backend.dump()
    backend.__init__(backend.name, codec=backend.codec)


def excepthook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("\ninterrupted: what was begun is taken down, what was finished is kept\n")
    else:
        sys.__excepthook__(kind, error, trace)
