"""From an AMI to a shell and back, as its users type it, on the local cloud: the machine boots what was uploaded. Killed on
the way, it is gone on with.
"""

import json
import os
import signal
import time

import pytest

from tests import projects
from tests.projects import Project

IMAGE = "debian-12"


@pytest.fixture
def project(built, tmp_path):
    """The built project, and its local cloud, which is another one from now on."""
    made = projects.clone(built, tmp_path / "project")
    yield made
    made.doit("local_stop")


def held(project: Project) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(project.doit("instances", "--json"))
    return found


def killed_when(project: Project, path: str, *args: str) -> None:
    """doit, killed when a file of its own appears."""
    process = project.start(*args)
    deadline = time.monotonic() + 300
    while not (project.build / IMAGE / "local" / path).exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_launched_logged_in_to_and_ended(project):
    """One machine, although the first run was killed while it started it; its shell, its console; and nothing is left."""
    script = "#!/bin/sh\necho {{ image }} in {{ region }} > /root/told\n"
    (project.path / "first.sh").write_text(script)
    project.configure(f"images/{IMAGE}.yaml", launch={"user_data": "first.sh", "timeout": 600})
    killed_when(project, "launching.json", f"launch:{IMAGE}")
    said = project.doit(
        f"launch:{IMAGE}", f"ssh:{IMAGE}", "--command=cat /etc/motd /root/told", timeout=900
    )
    assert "Debian 12, built by doit-ami" in said
    assert f"{IMAGE} in us-east-1" in said
    (one,) = held(project)
    assert (one["image"], one["state"]) == (IMAGE, "running")
    assert f"{one['id']} is up at 127.0.0.1 port {one['address'].partition(':')[2]}" in said
    assert "SKIPPED launch:debian-12" in project.doit(f"launch:{IMAGE}")
    assert "BEGIN SSH HOST KEY KEYS" in project.doit(f"console:{IMAGE}")
    assert "already open: tcp 22 of default to 127.0.0.1/32" in project.doit("authorize")
    assert "there is no terminal" in project.doit(f"ssh:{IMAGE}", status=1)
    project.doit(f"terminate:{IMAGE}", "--yes")
    assert f"doit launch:{IMAGE}" in project.doit(f"ssh:{IMAGE}", "--command=true", status=1)
    assert not (project.build / IMAGE / "local" / "instance.json").exists()
    assert [each["state"] for each in held(project)] == ["terminated"]


def test_before_there_is_anything_the_tasks_say_what_to_type(tmp_path):
    """And make no local cloud to find that out."""
    project = projects.copy(tmp_path / "project")
    assert "no instances of ours in local" in project.doit("instances")
    assert f"doit launch:{IMAGE}" in project.doit(f"ssh:{IMAGE}", "--command=true", status=1)
    assert f"doit launch:{IMAGE}" in project.doit(f"console:{IMAGE}", status=1)
    assert not (project.build / "cloud").exists()
