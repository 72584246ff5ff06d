"""A stage becomes a doit task that knows when it is stale, and why; a fault becomes words."""

import errno
import io
import os
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from doit.exceptions import TaskFailed

from tasks import reporter
from tasks.kit import files
from tasks.kit.fault import ImageFault
from tasks.reporter import Reporter
from tasks.spec.part import Part
from tasks.spec.tool import Tool
from tasks.step import Watch, perform, remove, step


class Order(Part):
    size: int = 1
    packages: tuple[str, ...] = ("bash",)


class Task:
    """What doit hands to an `uptodate`."""

    def __init__(self, *targets: Path) -> None:
        self.targets = [str(target) for target in targets]
        self.value_savers: list[Any] = []
        self.options: dict[str, Any] | None = None


def stage(body=None, **names) -> ModuleType:
    module = ModuleType("tasks.demo", "demo: a stage\n\nmore")
    module.RECIPE = 1  # type: ignore[attr-defined]
    module.body = body or (lambda order, *, report, **paths: None)  # type: ignore[attr-defined]
    for name, value in names.items():
        setattr(module, name, value)
    return module


def reasons(before: Watch, now: Watch, *targets: Path) -> list[str]:
    task = Task(*targets)
    before.configure_task(task)
    now(task, {name: value for saver in task.value_savers for name, value in saver().items()})
    return now.why


@pytest.mark.parametrize(
    ("now", "recipe", "why"),
    [
        (Order(), 1, []),
        (Order(size=2), 1, ["size changed"]),
        (Order(size=2, packages=("zsh",)), 1, ["packages changed", "size changed"]),
        (Order(), 2, ["RECIPE changed"]),
    ],
    ids=["nothing", "a key", "two keys", "the recipe"],
)
def test_a_task_is_stale_when_its_order_or_recipe_changed_and_says_in_what(now, recipe, why):
    """By key: "something changed" helps nobody."""
    assert reasons(Watch(Order(), 1, {}), Watch(now, recipe, {})) == why


def test_a_task_that_never_ended_is_stale():
    """Whatever lies there."""
    watch = Watch(Order(), 1, {})
    assert watch(Task(), {}) is False
    assert watch.why == ["it never ran here to its end"]


def test_a_target_that_is_gone_is_a_reason(tmp_path):
    """By its name."""
    assert reasons(Watch(Order(), 1, {}), Watch(Order(), 1, {}), tmp_path / "disk.img") == [
        "disk.img is not there"
    ]


def test_a_doubt_that_holds_is_a_reason():
    """Asked last: it is the only question that costs anything."""
    assert reasons(Watch(Order(), 1, {}), Watch(Order(), 1, {"it is gone": lambda: True})) == [
        "it is gone"
    ]
    assert reasons(Watch(Order(), 1, {}), Watch(Order(), 1, {"it is gone": lambda: False})) == []


def test_a_fault_is_a_failed_task_with_its_words(tmp_path):
    """No traceback: those are for our bugs."""

    def body(order, *, report):
        raise ImageFault("it did not boot", where="console.log")

    failed = perform(stage(body), Order(), [], {}, "debian-12")
    assert isinstance(failed, TaskFailed)
    assert failed.get_msg().strip() == "it did not boot\n  where: console.log"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_what_the_host_refuses_is_no_bug_of_ours(number):
    """A full disk, a folder of somebody else's: words and what to do; any other error keeps its traceback."""

    def refusing(order, *, report):
        raise OSError(number, os.strerror(number), "build/x")

    failed = perform(stage(refusing), Order(), [], {}, "x")
    assert isinstance(failed, TaskFailed)
    assert f"{os.strerror(number)}\n  where: build/x\n  try:   " in failed.get_msg()
    with pytest.raises(OSError, match="Is a directory"):
        perform(stage(lambda order, *, report: open("/")), Order(), [], {}, "x")  # noqa: PTH123, SIM115


def test_a_stage_does_not_begin_without_its_tools_or_inputs(tmp_path):
    """All that is missing is told at once, with the reason for each."""
    begun = []

    def tools(order):
        return (Tool("no-such-a", "to do a", "a", "a"), Tool("no-such-b", "to do b", "b", "b"))

    def body(order, *, report):
        begun.append(order)

    wanting = stage(body, tools=tools)
    failed = perform(wanting, Order(), [], {}, "x")
    assert failed is not None
    assert "no-such-a: needed to do a" in failed.get_msg()
    assert "no-such-b: needed to do b" in failed.get_msg()
    assert "doit host --install" in failed.get_msg()
    failed = perform(stage(), Order(), [tmp_path / "gone"], {}, "x")
    assert failed is not None
    assert str(tmp_path / "gone") in failed.get_msg()
    assert begun == []


def test_a_stage_becomes_what_doit_wants(tmp_path):
    """Inputs watched, groups unfolded, targets declared; lists and strings, as doit needs them."""
    task = step(
        "debian-12",
        stage(),
        Order(),
        needs={"stamp": tmp_path / "in", "templates": {"fstab": tmp_path / "fstab"}},
        makes={"out": tmp_path / "out"},
        given={"img": tmp_path / "img"},
    )
    assert task["file_dep"] == [str(tmp_path / "in"), str(tmp_path / "fstab")]
    assert task["targets"] == [str(tmp_path / "out")]
    assert task["doc"] == "demo: a stage"
    assert isinstance(task["uptodate"][0], Watch)


def test_cleaning_removes_targets_scratches_and_empty_folders_only(tmp_path):
    """And with `doit clean -n` nothing."""
    target, other = tmp_path / "a" / "target", tmp_path / "b" / "other"
    for each in (target, other, other.with_name("kept")):
        files.write(each, "x")
    files.scratch_of(target).write_text("half")
    remove([target, other], dryrun=True)
    assert target.exists()
    remove([target, other], dryrun=False)
    assert not target.parent.exists()
    assert [each.name for each in other.parent.iterdir()] == ["kept"]


def test_an_interrupt_is_told_in_a_line(capsys):
    """Anything else keeps its traceback."""
    reporter.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err.count("\n") == 2
    reporter.excepthook(RuntimeError, RuntimeError("a bug"), None)
    assert "RuntimeError: a bug" in capsys.readouterr().err


def test_an_option_that_is_given_is_a_reason_to_run():
    """And the stage gets it."""
    given: list[Any] = []

    def body(order, *, report, update):
        given.append(update)

    task, watch = Task(), Watch(Order(), 1, {})
    watch.configure_task(task)
    values = {name: value for saver in task.value_savers for name, value in saver().items()}
    task.options = {"update": False}
    assert watch(task, values)
    task.options = {"update": True}
    assert not watch(task, values)
    assert watch.why == ["--update was given"]
    assert perform(stage(body), Order(), [], {}, "demo", update=True) is None
    assert given == [True]


@pytest.mark.parametrize(
    ("begun", "said"), [(False, "nothing to do: 1 stages are up to date"), (True, "")]
)
def test_a_run_that_was_stopped_in_a_stage_had_something_to_do(begun, said):
    """Though nothing was done, and nothing failed."""
    out = io.StringIO()
    reporter = Reporter(out, {"show_out": False, "failure_verbosity": 0})
    task = SimpleNamespace(
        name="img:x", actions=[1], targets=["x"], dep_changed=[], because=["x changed"]
    )
    reporter.skip_uptodate(task)
    if begun:
        reporter.execute_task(task)
    reporter.complete_run()
    assert ("nothing to do" in out.getvalue()) == bool(said)
    assert said in out.getvalue()
