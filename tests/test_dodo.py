"""The graph, read and not run: every target made by one task, every input made by some task or there."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doit.loader import load_tasks

from tests.projects import ROOT

STAGES = ("keys", "rootfs", "img", "boot", "scan", "bundle", "upload", "ami")


@pytest.fixture
def graph(monkeypatch):
    monkeypatch.chdir(ROOT)
    import dodo

    return {task.name: task for task in load_tasks(vars(dodo), command_names=("list", "run", "clean"))}


def test_every_stage_declares_what_it_makes(graph):
    """What has no target is asked for by name, and done each time."""
    bare = {name.partition(":")[0] for name, task in graph.items() if task.actions and not task.targets}
    assert bare == {
        "host",
        *("images", "instances", "authorize", "ssh", "console"),
        *("terminate", "deregister", "delete_bundle"),
        *("local_stop", "local_faults"),
    }


def test_every_input_is_made_by_a_task_or_lies_in_the_project(graph):
    """A typo in a path would otherwise be a stage that never reruns."""
    made = {target for task in graph.values() for target in task.targets}
    needed = {file for task in graph.values() for file in task.file_dep}
    assert [file for file in sorted(needed - made) if not (ROOT / file).is_file()] == []


def test_no_gigabyte_is_watched(graph):
    """doit would hash it at every run: stamps stand for large files."""
    watched = {file for task in graph.values() for file in task.file_dep}
    assert [file for file in watched if file.endswith((".img", ".tar"))] == []


def test_bare_doit_makes_the_ami_of_every_image_of_the_site(graph):
    """By way of every stage."""
    import dodo

    todo, seen = list(dodo.DOIT_CONFIG["default_tasks"]), set()
    made = {target: name for name, task in graph.items() for target in task.targets}
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += [made[file] for file in graph[name].file_dep if file in made]
    assert {name.partition(":")[0] for name in seen} == set(STAGES)


def test_a_family_is_about_the_images_of_the_site(graph):
    """`doit img` makes what bare `doit` makes; every other image is there when it is named."""
    import dodo

    assert dodo.OTHERS, "as shipped, most images are there to be named"
    for family in STAGES:
        of_images = {name.partition(":")[2] for name in graph[family].task_dep} - {"ec2"}
        assert of_images == set(dodo.SITE.images)
        assert {f"{family}:{name}" for name in dodo.OTHERS} <= set(graph)
        assert {graph[f"{family}:{name}"].subtask_of for name in dodo.OTHERS} == {family}


def test_nothing_is_launched_that_nobody_asked_for(graph):
    """Bare doit ends with an AMI. A launch begins with one; what looks at instances begins with nothing."""
    import dodo

    assert not [name for name in dodo.DOIT_CONFIG["default_tasks"] if not name.startswith("ami:")]
    for image in dodo.PROJECT.images:
        assert f"build/{image.name}/{dodo.CLOUD.name}/ami.json" in graph[f"launch:{image.name}"].file_dep
        for family in ("ssh", "console"):
            assert not graph[f"{family}:{image.name}"].file_dep
            assert not graph[f"{family}:{image.name}"].task_dep


def test_a_stage_is_named_as_its_file():
    """`doit boot` is tasks/boot.py."""
    for stage in STAGES:
        assert (ROOT / f"tasks/{stage}.py").is_file()


def test_the_list_reads_like_a_manual():
    """Each task says what it makes of what."""
    done = subprocess.run(
        [sys.executable, "-m", "doit", "list"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines][:10] == ["host", *STAGES[:2], "mirror", *STAGES[2:]]
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines)


def test_the_table_of_contents_holds_nothing_else():
    """No open(), no subprocess, no boto3, and no slow import: `doit list` answers at once."""
    tree = ast.parse((ROOT / "dodo.py").read_text())
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"open", "exec", "eval", "print"}
    code = "import sys, dodo; print([n for n in ('boto3', 'botocore', 'jinja2', 'moto', 'cryptography') if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_schemas_for_editors_are_those_of_the_models():
    """`doit schema` was run after the last change of a key."""
    from tasks import schema

    for name in schema.MODELS:
        assert (ROOT / f"config/schema/{name}.json").read_text() == schema.text(name), "run: doit schema"


def test_the_top_level_is_what_was_agreed():
    """And nothing else."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    tops = {Path(line).parts[0] for line in done.stdout.splitlines()}
    agreed = {"dodo.py", "pyproject.toml", "README.md", "tasks", "templates", "config", "tests"}
    also = {"requirements.lock", "LICENSE", "CHANGELOG.md"}
    assert {top for top in tops if not top.startswith(".")} - also == agreed


def test_the_readme_begins_with_two_commands_that_exist(graph):
    """The first ends with an AMI id, the second with the tests; what they ask of doit, it knows."""
    blocks = re.findall(
        r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    make, check = (block.strip() for block in blocks[:2])
    assert "\n" not in make + check
    assert make.endswith("cat build/debian-12/local/ami-id")
    assert check.endswith("-m pytest -n 3 --dist loadfile")
    options = {f"--{option['long']}" for option in graph["host"].params}
    assert set(re.findall(r"doit host((?: --\w+)*)", make + check)) == {
        " --install",
        " --install --tests",
    }
    assert {"--install", "--tests"} < options
