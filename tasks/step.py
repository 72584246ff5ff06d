"""A stage, its order and its paths as doit's dict; faults as doit's failures. It and reporter.py know doit's traps, and
alone import it beside dodo.py.
"""

import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from doit import get_var
from doit.exceptions import InvalidDodoFile, TaskFailed
from doit.task import Task, dict_to_task

from tasks.kit.fault import ConfigFault, Fault, HostFault
from tasks.kit.files import digest, scratch_of
from tasks.kit.report import reporting
from tasks.reporter import LOOKS, Reporter, excepthook, of_the_host
from tasks.spec.part import Part

DIGESTS = "order"  # where doit's database keeps, for each key of a task's order, what it was when the task last ran

Step = dict[str, Any]
Value = TypeVar("Value")


def told(ask: Callable[[], Value]) -> Value:
    """What `ask` answers; its fault in doit's own way of refusing a dodo.py: words, and no traceback."""
    try:
        return ask()
    except Fault as fault:
        raise InvalidDodoFile(str(fault)) from None


def configuration(*, default: Sequence[str], build: Path) -> dict[str, Any]:
    """DOIT_CONFIG. SIGTERM ends a run as Ctrl-C does, so that what was begun is taken down."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.excepthook = excepthook
    return {
        "default_tasks": list(default),
        "reporter": type(
            "Reporter", (Reporter,), {"lock": build / ".lock"}
        ),  # doit makes it, and gives it no more
        "backend": "sqlite3",  # the one that loses nothing when two runs write to it
        "dep_file": ".doit.db",
        "verbosity": 2,
        "sort": "definition",
    }


def step(
    name: str,
    stage: Any,
    order: Part,
    *,
    needs: Mapping[str, Path | Mapping[str, Path]],
    makes: Mapping[str, Path],
    given: Mapping[str, Path] | None = None,
    log: Path | None = None,
    doubts: Mapping[str, Callable[[], bool]] | None = None,
    sweep: Sequence[Path] = (),
    kept: bool = False,
    params: Sequence[Mapping[str, Any]] = (),
) -> Step:
    """`needs` are read, and watched; `makes` appear; `given` are handed on and not watched. `doubts` are
    reasons to run although nothing changed, each with the question whether it holds.
    `sweep` and the log go with `makes` on `doit clean`; what is `kept` does not go. An option of `params` is a reason, too.

    A group in `needs` (name -> path) reaches the stage as one mapping: its templates, its scripts.
    """
    watched = [
        path
        for each in needs.values()
        for path in (each.values() if isinstance(each, Mapping) else (each,))
    ]
    paths = {**needs, **makes, **(given or {}), **({"log": log} if log else {})}
    return {
        "name": name,
        "doc": stage.__doc__.partition("\n")[0],
        "actions": [(perform, [stage, order, watched, paths, name])],
        "file_dep": [str(path) for path in watched],
        "targets": [str(path) for path in makes.values()],
        "uptodate": [Watch(order, stage.RECIPE, doubts or {})],
        "clean": [] if kept else [(remove, [[*makes.values(), *sweep, *([log] if log else [])]])],
        "params": [dict(each) for each in params],
        "title": lambda task: str(task.name),
    }


def leaving_out(
    names: Collection[str],
) -> Callable[[Callable[[], Iterator[Step]]], Callable[[], Iterator[Step | Task]]]:
    """For a family of tasks: those of `names` are there, but are no part of the family. They run when somebody names them."""

    def leaving(family: Callable[[], Iterator[Step]]) -> Callable[[], Iterator[Step | Task]]:
        @wraps(family)
        def steps() -> Iterator[Step | Task]:
            of = family.__name__.removeprefix("task_")
            for each in family():
                if each["name"] not in names:
                    yield each
                    continue
                task = dict_to_task({**each, "name": f"{of}:{each['name']}"})
                task.subtask_of = of  # or `doit list` would show them all
                yield task

        return steps

    return leaving


def deed(
    stage: Any,
    order: Part,
    *,
    given: Mapping[str, Path | Mapping[str, Path]],
    params: Sequence[Mapping[str, Any]] = (),
    name: str = "",
    looks: bool = False,
) -> Step:
    """A task that makes no file and is done whenever it is asked for; with a name, one of a family.

    One that only `looks` runs beside whatever else is at work: somebody may be logged in for hours.
    """
    return {
        "meta": {LOOKS: looks},
        **({"name": name, "doc": stage.__doc__.partition("\n")[0]} if name else {}),
        "actions": [(act, [stage, order, given])],
        "uptodate": [False],
        "params": [dict(each) for each in params],
        "title": lambda task: str(task.name),
    }


class Watch:
    """Whether a task's order, or the recipe it is done by, changed since it last ran; and in which key.

    One object for each task: doit allows one `config_changed` and tells nobody what changed in it.
    """

    def __init__(self, order: Part, recipe: int, doubts: Mapping[str, Callable[[], bool]]) -> None:
        self.now = {key: digest(value) for key, value in order.model_dump(mode="json").items()}
        self.now["RECIPE"] = str(recipe)
        self.doubts = doubts
        self.why: list[str] = []

    def configure_task(self, task: Any) -> None:
        task.value_savers.append(lambda: {DIGESTS: self.now})

    def __call__(self, task: Any, values: Mapping[str, Any]) -> bool:
        before: Mapping[str, str] | None = values.get(DIGESTS)
        told = [f"--{name} was given" for name, value in (task.options or {}).items() if value]
        self.why = told or self._reasons(before, task.targets)
        task.because = self.why
        return not self.why

    def _reasons(self, before: Mapping[str, str] | None, targets: Sequence[str]) -> list[str]:
        missing = [target for target in targets if not os.path.exists(target)]  # noqa: PTH110 - doit's own strings
        if before is None:
            return ["it never ran here to its end"]
        changed = sorted(key for key in {*before, *self.now} if before.get(key) != self.now.get(key))
        reasons = [f"{key} changed" for key in changed] + [
            f"{Path(target).name} is not there" for target in missing
        ]
        # Asked last: these are the questions that cost something.
        return reasons or [doubt for doubt, holds in self.doubts.items() if holds()]


def perform(
    stage: Any, order: Part, watched: Sequence[Path], paths: Mapping[str, Any], name: str, **params: Any
) -> TaskFailed | None:
    """One stage, with everything asked for before it begins. A fault is doit's failure; any other exception is our bug."""
    label = f"{stage.__name__.rpartition('.')[2]}:{name}"
    try:
        _ready(stage, order, watched, name)
        if "log" in paths:
            paths["log"].parent.mkdir(parents=True, exist_ok=True)
            paths["log"].write_bytes(b"")
        with reporting(label, alone=multiprocessing.parent_process() is None) as report:
            stage.body(order, report=report, **paths, **params)
    except Fault as fault:
        return TaskFailed(str(fault))
    except OSError as error:
        return TaskFailed(str(of_the_host(error)))
    return None


def act(
    stage: Any, order: Part, given: Mapping[str, Path | Mapping[str, Path]], **params: Any
) -> TaskFailed | None:
    try:
        if "yes" in params:
            params["yes"] = params["yes"] or said_yes()
        stage.body(order, **given, **params)
    except Fault as fault:
        return TaskFailed(str(fault))
    return None


def said_yes() -> bool:
    """Whether `yes=true` is on doit's command line, where it is about all tasks of the run. Raises ConfigFault for what is neither."""
    said = str(get_var("yes", "false")).lower()
    if said not in {"true", "false"}:
        raise ConfigFault(f"yes={said} says neither yes nor no", hint="write yes=true")
    return said == "true"


def _ready(stage: Any, order: Part, watched: Sequence[Path], name: str) -> None:
    """doit starts a body even when its inputs are missing; and tools are asked for before the first is needed."""
    needed = stage.tools(order) if hasattr(stage, "tools") else ()
    missing = {each.program: each for each in needed if not each.found}
    if missing:
        raise HostFault(
            f"{len(missing)} tool(s) are not installed",
            evidence=[f"{each.program}: needed {each.why}" for each in missing.values()],
            hint=f"doit host --install --image={name}{getattr(stage, 'INSTALL', '')}",
        )
    gone = [str(path) for path in watched if not path.exists()]
    if gone:
        raise HostFault(
            "what this stage is made from is not there", evidence=gone, hint="doit clean, then doit"
        )


def remove(paths: Sequence[Path], dryrun: bool) -> None:  # noqa: FBT001 - doit hands it over by this name
    """Local files and folders, and what a killed run left of them. Never anything in a cloud, never a key."""
    for path in (each for target in paths for each in (target, scratch_of(target)) if each.exists()):
        sys.stdout.write(f"removing {path}\n")
        if not dryrun:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not dryrun:
        for folder in {path.parent for path in paths}:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
