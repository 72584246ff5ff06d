"""doit, the local cloud, or both, killed at random instants on the way from a block list to a login: run again, all is there once."""

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.cloud import local
from tasks.cloud.clients import Cloud, connect
from tasks.cloud.local import door
from tasks.spec.record import UploadReceipt
from tests import clouds
from tests.projects import Project

IMAGE = "debian-12"
VICTIMS = (("doit",), ("cloud",), ("doit", "cloud"))


@pytest.fixture
def project(project):
    """The built project, as it was before anything was uploaded."""
    for name in ("upload.stamp", "ami.json", "ami-id", "snapshot.blocks.json"):
        (project.build / IMAGE / "local" / name).unlink()
    for path in (project.build / "cloud").glob("cloud.*"):
        path.unlink()
    return project


@pytest.fixture
def rng():
    return random.Random(os.environ.get("DOIT_AMI_SEED", "doit-ami"))


def home(project: Project) -> Path:
    return project.build / "cloud"


def kill(project: Project, victims: tuple[str, ...], after: float, *task: str) -> bool:
    """Start a task, kill what is to be killed so long after it began; whether doit was still at it."""
    running = project.start(*task)
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith(f"RUN     {task[0]}"):
            break
    time.sleep(after)
    alive = running.poll() is None
    state = door.read(home(project))
    if "cloud" in victims and state and door.alive(state):
        os.kill(state.pid, signal.SIGKILL)
    if "doit" in victims:
        running.kill()
    running.communicate(timeout=400)
    return alive


def qemus(project: Project) -> list[str]:
    here, found = str(project.path), []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if line.startswith("qemu-system") and here in line:
            found.append(line)
    return found


def listed(project: Project, task: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(project.doit(task, "--json"))
    return found


def snapshots(cloud: Cloud) -> list[str]:
    """Of the account, whatever their states."""
    return [
        each["SnapshotId"] for each in cloud.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]
    ]


def test_upload_and_registration_killed_at_random_end_in_one_ami(project, rng):
    """One AMI, one snapshot, nothing half, and no file of the cloud's that it does not know."""
    alive = 0
    for number in range(9):
        victims = VICTIMS[number % len(VICTIMS)]
        task, longest = (f"upload:{IMAGE}", 3.0) if number < 6 else (f"ami:{IMAGE}", 0.8)
        alive += kill(project, victims, rng.uniform(0, longest), task)
    assert alive >= 2, "the kills came too late to tell anything"
    project.doit(f"ami:{IMAGE}")
    (ami,) = listed(project, "images")
    assert ami["id"] == (project.build / IMAGE / "local/ami-id").read_text().strip()
    receipt = UploadReceipt.read(project.build / IMAGE / "local/upload.stamp")
    assert snapshots(connect(clouds.LOCAL, home(project))) == [receipt.location]
    assert not (project.build / IMAGE / "local/upload.journal").exists()
    assert local.stop(home(project))
    local.endpoint(home(project))
    assert list((home(project) / "scratch").iterdir()) == []
    assert [each.name for each in (home(project) / "snapshots").iterdir()] == [receipt.location]


def test_a_launch_killed_at_random_ends_in_one_machine(project, rng):
    """One instance that lets its key in, one QEMU; its shell, its console, what the tasks say; and after its end, nothing."""
    (project.path / "first.sh").write_text("#!/bin/sh\necho {{ image }} in {{ region }} > /root/told\n")
    project.configure(f"images/{IMAGE}.yaml", launch={"user_data": "first.sh", "timeout": 600})
    project.doit(f"ami:{IMAGE}")
    for number in range(6):
        kill(project, VICTIMS[number % len(VICTIMS)], rng.uniform(0, 6), f"launch:{IMAGE}")
    looked = "--command=systemctl is-system-running --wait; cat /etc/motd /root/told"
    said = project.doit(f"launch:{IMAGE}", f"ssh:{IMAGE}", looked, timeout=900)
    assert "Debian 12, built by doit-ami" in said
    assert f"{IMAGE} in us-east-1" in said
    states = [each["state"] for each in listed(project, "instances")]
    assert states.count("running") == 1
    assert set(states) <= {"running", "terminated"}
    assert len(qemus(project)) == 1
    assert f"SKIPPED launch:{IMAGE}" in project.doit(f"launch:{IMAGE}")
    assert "BEGIN SSH HOST KEY KEYS" in project.doit(f"console:{IMAGE}")
    assert "already open: tcp 22 of default to 127.0.0.1/32" in project.doit("authorize")
    assert "there is no terminal" in project.doit(f"ssh:{IMAGE}", status=1)
    project.doit(f"terminate:{IMAGE}", "yes=true")
    assert qemus(project) == []
    assert f"doit launch:{IMAGE}" in project.doit(f"ssh:{IMAGE}", "--command=true", status=1)
    assert not (project.build / IMAGE / "local" / "instance.json").exists()
    disks = [each.name for each in (home(project) / "machines").rglob("*") if "disk" in each.name]
    assert disks == []
    project.doit(f"deregister:{IMAGE}", "yes=true")
    assert listed(project, "images") == []
    assert snapshots(connect(clouds.LOCAL, home(project))) == []
