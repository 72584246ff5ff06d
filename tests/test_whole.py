"""The whole chain as its users run it: again, after a change, two at once, killed at any instant, as anybody."""

import json
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tasks import bundle
from tasks.cloud.unbundle import unbundle
from tasks.kit.files import sha256
from tasks.kit.report import Silent
from tasks.spec.load import load
from tasks.spec.record import AmiReceipt, ImgStamp
from tests import projects
from tests.projects import ROOT, Project, stages

CHAIN = ["keys", "rootfs", "img", "boot", "scan", "bundle", "upload", "ami"]
IMAGE = "debian-12"


def amis(project: Project) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(project.doit("images", "--json"))
    return found


def leftovers(project: Project) -> list[str]:
    """Scratch files, folders of guests and trees, mounts, loop devices and processes that a run left."""
    here = str(project.path)
    files = [str(path) for path in project.build.rglob("*") if path.name.endswith(".scratch")]
    files += [str(path) for name in ("tree", "guest") for path in project.build.rglob(name)]
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if here in line]
    loops = subprocess.run(
        ["losetup", "-a"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [*files, *mounts, *(line for line in loops if here in line), *processes(here)]


def processes(here: str) -> list[str]:
    """Those that name the project, but for its cloud."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if here in line and "tasks.cloud.local" not in line:
            found.append(line)
    return found


def test_from_packages_to_an_ami_id(built):
    """Every stage once, each with its time; the bare id is in ami-id, and the cloud lists it."""
    assert sorted(set(stages(built.said, "DONE"))) == sorted(CHAIN)
    assert re.search(rf"^DONE +rootfs:{IMAGE} +\[\d+\.\d s\]$", built.said, re.MULTILINE)
    identifier = (built.build / IMAGE / "local/ami-id").read_text().strip()
    receipt = AmiReceipt.read(built.build / IMAGE / "local/ami.json")
    assert re.fullmatch(r"ami-[0-9a-f]+", identifier)
    assert receipt.id == identifier
    assert (
        receipt.sha256
        == receipt.boot.sha256
        == ImgStamp.read(built.build / IMAGE / f"{IMAGE}.img.stamp").file.sha256
    )
    assert identifier in [each["id"] for each in amis(built)]
    assert identifier in built.doit("images")


def test_the_bundle_of_the_real_image_is_restored_by_others_and_by_us(built, tmp_path):
    """S3-backed. openssl, gzip and tar with the user's key; `unbundle` with EC2's: both end in the very bytes that booted."""
    image, keys = built.build / IMAGE / f"{IMAGE}.img", built.build / "keys"
    built.doit("keys:ec2")  # which only S3-backed images have a need of
    manifest = bundled(built, tmp_path / "bundle")
    sealed = ET.parse(manifest).find("image")  # noqa: S314 - our own words
    assert sealed is not None
    opened = {}
    for what in ("key", "iv"):
        field = bytes.fromhex(sealed.findtext(f"user_encrypted_{what}", ""))
        command = ["openssl", "pkeyutl", "-decrypt", "-inkey", keys / IMAGE / "pk.pem"]
        opened[what] = subprocess.run(
            command, input=field, capture_output=True, check=True
        ).stdout.decode()
    script = 'cat "$@" | openssl enc -d -aes-128-cbc -K "$K" -iv "$IV" | gzip -dc | tar -xOS | sha256sum'
    parts = [
        manifest.with_name(part.findtext("filename") or "") for part in sealed.iterfind("parts/part")
    ]
    env = {"PATH": os.environ["PATH"], "K": opened["key"], "IV": opened["iv"]}
    others = subprocess.run(
        ["sh", "-c", script, "sh", *parts], env=env, capture_output=True, text=True, check=True
    )
    ours = unbundle(manifest, key=built.build / "cloud/ec2/pk.pem", into=tmp_path, recipient="ec2")
    stamp = ImgStamp.read(image.with_name(f"{image.name}.stamp"))
    assert others.stdout.split()[0] == sha256(ours) == stamp.file.sha256


def bundled(project: Project, folder: Path) -> Path:
    """The manifest of a bundle of the image, as the stage makes it of an S3-backed one."""
    at, keys = project.build / IMAGE, project.build / "keys" / IMAGE
    image = load(ROOT / "config", ROOT / "templates").image(IMAGE)
    assert image is not None
    manifest = folder / f"{IMAGE}.img.manifest.xml"
    bundle.body(
        bundle.Order.of(image, "123456789012"),
        report=Silent(),
        image=at / f"{IMAGE}.img",
        stamp=at / f"{IMAGE}.img.stamp",
        key=keys / "pk.pem",
        certificate=keys / "cert.pem",
        ec2_certificate=project.build / "cloud/ec2/cert.pem",
        manifest=manifest,
        bundle=folder / "bundle.stamp",
    )
    return manifest


def test_a_rerun_does_nothing_and_says_so(built):
    """Not even after every time stamp of the inputs moved: content decides."""
    before = {path: path.stat().st_mtime_ns for path in built.build.rglob("*") if path.is_file()}
    for path in (built.path / "templates").rglob("*"):
        os.utime(path)
    said = built.doit()
    assert sorted(set(stages(said, "SKIPPED"))) == sorted(CHAIN)
    assert stages(said, "RUN") == []
    assert "nothing to do: 8 stages are up to date" in said
    after = {path: path.stat().st_mtime_ns for path in built.build.rglob("*") if path.is_file()}
    assert {path for path in before if before[path] != after.get(path) and path.name != ".lock"} == set()


def test_a_changed_template_reruns_the_image_and_what_follows(project):
    """And says which; no package is installed again."""
    with (project.path / "templates/sshd.conf").open("a") as file:
        file.write("MaxAuthTries 3\n")
    said = project.doit("img", "scan", "bundle")
    assert stages(said, "RUN") == ["img", "scan", "bundle"]
    assert re.search(rf"^RUN +img:{IMAGE} +because sshd.conf changed$", said, re.MULTILINE)
    assert "rootfs" in stages(said, "SKIPPED")


def test_a_changed_key_reruns_what_reads_it(project):
    """`ami.description` is of the AMI alone: nothing is built, booted or sent again."""
    project.doit()
    image = yaml_of(project)
    project.configure(f"images/{IMAGE}.yaml", ami=image["ami"] | {"description": "another"})
    said = project.doit()
    assert stages(said, "RUN") == ["ami"]
    assert re.search(rf"^RUN +ami:{IMAGE} +because description changed$", said, re.MULTILINE)


def yaml_of(project: Project):
    import yaml

    return yaml.safe_load((project.path / f"config/images/{IMAGE}.yaml").read_text())


def test_an_image_that_was_swapped_is_made_again(project):
    """And what follows from it is not: the bytes are those that booted."""
    project.doit()
    (project.build / IMAGE / f"{IMAGE}.img").touch()
    said = project.doit()
    assert stages(said, "RUN") == ["img"]
    assert re.search(rf"^RUN +img:{IMAGE} +because it is not what was stamped$", said, re.MULTILINE)


def test_two_at_once_work(built, project):
    """With -n 2, scan, boot and bundle go side by side; the result is the same."""
    receipt = AmiReceipt.read(project.build / IMAGE / "local/ami.json")
    booted_once(project)
    said = project.doit("-n", "2", "--always")
    assert sorted(set(stages(said, "DONE"))) == sorted(CHAIN)
    assert sorted(tree_of(built) ^ tree_of(project)) == []
    again = AmiReceipt.read(project.build / IMAGE / "local/ami.json")
    assert again.sha256 == receipt.sha256
    assert leftovers(project) == []


def test_a_second_run_is_told_who_is_at_it_and_ends(project):
    """And harms nothing: the first goes on to its end."""
    first = project.start("--always", "--single", "img")
    wait_for(lambda: (project.build / ".lock").read_text().count(f'"pid": {first.pid}'))
    said = project.doit(status=2)
    assert f"another run is at work: process {first.pid}, since 20" in said
    assert "another run" not in project.doit("images", "instances"), "whoever only looks need not wait"
    out, _ = first.communicate(timeout=200)
    assert first.returncode == 0, out


def booted_once(project: Project) -> None:
    """By one firmware: nothing of the disk follows from it, and what a boot is worth is shown elsewhere."""
    project.configure(f"images/{IMAGE}.yaml", ami={"name": "{image}-{digest}", "boot_mode": "uefi"})


def tree_of(project: Project) -> set[str]:
    """Every entry of the root file system, as tar lists it: what to look at when two digests differ."""
    tar = [
        "tar",
        "--list",
        "--verbose",
        "--numeric-owner",
        "--file",
        str(project.build / IMAGE / "rootfs.tar"),
    ]
    return set(subprocess.run(tar, capture_output=True, text=True, check=True).stdout.splitlines())


def wait_for(happened, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_a_tampered_receipt_is_told_of(project):
    """And by what to do."""
    project.doit()
    boot = project.build / IMAGE / "boot.json"
    boot.write_text(boot.read_text().replace('"seconds": ', '"seconds": 1'))
    said = project.doit("ami", status=1)
    assert "boot.json was changed after it was written" in said
    assert "try: " in said


def test_the_cloud_that_forgot_is_told_again(project):
    """A stop takes nothing away. Where the cloud's folder is another one, what stands for it is stale; what was built is not."""
    project.doit("local_stop")
    assert stages(project.doit(), "RUN") == []
    project.doit("local_stop")
    for each in (project.build / "cloud").glob("cloud.*"):
        each.unlink()
    said = project.doit()
    assert stages(said, "RUN") == ["upload", "ami"]
    assert "because the cloud has forgotten it" in said
    assert len(amis(project)) == 1


def test_clean_removes_what_is_local_and_only_that(project):
    """Keys stay, the cloud stays; and the next run finds its AMI there again."""
    project.doit()
    before = amis(project)
    assert project.doit("clean", "-n").count("removing") > 10
    assert (project.build / IMAGE / "rootfs.tar").exists()
    project.doit("clean")
    kept = {
        path.relative_to(project.build).parts[0] for path in project.build.rglob("*") if path.is_file()
    }
    assert kept <= {"keys", "cloud", ".lock", IMAGE}
    assert {path.parent.name for path in (project.build / IMAGE).rglob("*") if path.is_file()} <= {"log"}
    assert [each["id"] for each in amis(project)] == [each["id"] for each in before]


@pytest.mark.parametrize("fatal", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_keeps_what_was_finished(project, fatal):
    """And takes down what was begun: cron's timeout, or Ctrl-C."""
    running = project.start("--always")
    said = []
    assert running.stdout is not None
    for line in running.stdout:
        said.append(line)
        if line.startswith("RUN     img:"):
            break
    time.sleep(1)
    running.send_signal(fatal)
    rest, _ = running.communicate(timeout=60)
    assert running.returncode != 0
    assert "interrupted: what was begun is taken down, what was finished is kept" in rest
    assert leftovers(project) == []
    assert stages(project.doit("rootfs"), "SKIPPED") == ["rootfs"]


# Instants at which each stage is killed, in seconds from its start, drawn anew at random in these ranges.
KILLS = {
    "rootfs": (3, 20),
    "img": (5, 6),
    "boot": (3, 15),
    "scan": (2, 1),
    "bundle": (4, 1),
    "upload": (3, 4),
    "ami": (2, 1),
}


def test_killed_twenty_times_and_run_to_the_end(built, tmp_path):
    """At random instants of every stage: the same image, one AMI, and nothing left behind."""
    rng = random.Random(os.environ.get("DOIT_AMI_SEED", "doit-ami"))
    project = projects.copy(tmp_path / "project")
    subprocess.run(["cp", "-a", built.build / "keys", project.build.parent / "keys"], check=True)
    project.configure("site.yaml", keys="keys")
    booted_once(project)
    killed = 0
    for stage, (times, longest) in KILLS.items():
        for _ in range(times):
            killed += kill(project, stage, rng.uniform(0, longest))
        said = project.doit(f"{stage}:{IMAGE}")
        # State survives: what was finished before the kills is not done again.
        assert set(stages(said, "RUN")) <= {stage, "keys"}, said
        assert leftovers(project) == [], stage
    assert killed >= sum(times for times, _ in KILLS.values()) * 0.5, (
        "the kills came too late to tell anything"
    )
    project.doit()
    assert sorted(tree_of(built) ^ tree_of(project)) == []
    (ami,) = amis(project)
    whole = AmiReceipt.read(built.build / IMAGE / "local/ami.json")
    receipt = AmiReceipt.read(project.build / IMAGE / "local/ami.json")
    assert (receipt.sha256, receipt.id) == (whole.sha256, ami["id"])
    assert leftovers(project) == []
    project.doit("local_stop")


def kill(project: Project, stage: str, after: float) -> bool:
    """Start a stage and kill doit, and doit alone; whether it was still at it."""
    running = project.start(f"{stage}:{IMAGE}")
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith(f"RUN     {stage}:"):
            break
    time.sleep(after)
    alive = running.poll() is None
    running.kill()
    running.communicate(timeout=60)
    wait_for(lambda: processes(str(project.path)) == [], 10)
    return alive


def test_root_and_an_ordinary_user_make_the_same_image(built, space):
    """The same packages and keys, in another folder, by somebody who may do nothing: the same digest."""
    if os.geteuid() == 0:
        user = projects.ordinary_user()
        interpreter = projects.for_user(user, space)
    else:
        user, interpreter = None, projects.Project(space).interpreter
    project = projects.copy(space / "by a user")
    subprocess.run(["cp", "-a", built.build / "keys", project.path / "keys"], check=True)
    project = Project(project.path, user, interpreter)
    project.configure("site.yaml", keys="keys")
    booted_once(project)
    project.own()
    project.doit()
    assert len(amis(project)) == 1
    project.doit("local_stop")
    trees = [tree_of(each) for each in (built, project)]
    assert sorted(trees[0] ^ trees[1]) == []
    one, other = (ImgStamp.read(each.build / IMAGE / f"{IMAGE}.img.stamp") for each in (built, project))
    assert one.file.sha256 == other.file.sha256
    assert leftovers(project) == []
