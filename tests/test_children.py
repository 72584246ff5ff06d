"""An image that changes is sent as a child of its last snapshot. What the cloud then holds is enough for a machine to start from."""

import random
import subprocess
import time
from pathlib import Path

from tasks.cloud.clients import Cloud, connect
from tasks.kit.ext import Ext
from tasks.plan.hybrid import ROOT_AT
from tasks.spec.record import BlockList, UploadReceipt
from tests import clouds
from tests.projects import Project

IMAGE = "debian-12"
BLOCK = 524288
BOOTED = 240  # seconds until it must show its login


def changed(project: Project, rng: random.Random) -> None:
    """Ten edits: a line in a template, and nine files that grow the image's folders here and there."""
    with (project.path / "templates/sshd.conf").open("a") as file:
        file.write("MaxAuthTries 3\n")
    places = ("/etc", "/usr/share/doc", "/usr/lib/systemd/system", "/var/lib", "/opt")
    files = {
        f"{rng.choice(places)}/added-{number}": {"content": rng.randbytes(rng.randrange(40_000)).hex()}
        for number in range(9)
    }
    project.configure(f"images/{IMAGE}.yaml", files=files)


def written(cloud: Cloud, snapshot: str, parent: str) -> int:
    """How many blocks a child does not share with its parent."""
    pages = cloud.ebs().list_changed_blocks(FirstSnapshotId=parent, SecondSnapshotId=snapshot)
    return len(pages["ChangedBlocks"])


def volume(cloud: Cloud, snapshot: str, target: Path, rng: random.Random) -> int:
    """What an encrypted volume made of it shows: its blocks, and noise; how many blocks it has of it."""
    ebs = cloud.ebs()
    listed = ebs.list_snapshot_blocks(SnapshotId=snapshot)
    held = {each["BlockIndex"]: each["BlockToken"] for each in listed["Blocks"]}
    with target.open("wb") as file:
        for index in range(listed["VolumeSize"] * 2048):
            if index in held:
                got = ebs.get_snapshot_block(
                    SnapshotId=snapshot, BlockIndex=index, BlockToken=held[index]
                )
                file.write(got["BlockData"].read())
            else:
                file.write(rng.randbytes(BLOCK))
    return len(held)


def test_a_child_has_every_file_and_a_machine_starts_from_it(project, tmp_path):
    """After ten edits: few blocks are sent, the old ones are nowhere to be read, and noise in the rest harms nobody."""
    rng = random.Random(5)
    at = project.build / IMAGE
    parent = UploadReceipt.read(at / "local/upload.stamp").location
    changed(project, rng)
    project.doit("upload")
    snapshot = UploadReceipt.read(at / "local/upload.stamp").location
    cloud = connect(clouds.LOCAL, project.build / "cloud")
    blocks = BlockList.read(at / f"{IMAGE}.blocks.json")
    sent = written(cloud, snapshot, parent)
    assert 0 < sent < len(blocks.blocks) / 4, f"{sent} of {len(blocks.blocks)}"
    disk, image = tmp_path / "volume", at / f"{IMAGE}.img"
    assert volume(cloud, snapshot, disk, rng) >= len(blocks.blocks)
    subprocess.run(["e2fsck", "-fn", f"{disk}?offset={ROOT_AT}"], check=True, capture_output=True)
    assert every_file(disk) == every_file(image)
    disk.unlink()
    console = started(cloud, snapshot)
    assert f"{IMAGE} login:" in console
    assert "emergency" not in console


def every_file(image: Path) -> list[tuple[object, ...]]:
    with Ext.open(image, ROOT_AT) as fs:
        return [(*entry[:-1], hash(fs.read(entry)) if entry.is_file else None) for entry in fs.walk()]


def started(cloud: Cloud, snapshot: str) -> str:
    """The console of a machine that starts from it, once it asks who is there."""
    ec2 = cloud.ec2()
    ami = ec2.register_image(
        Name="child",
        Architecture="x86_64",
        VirtualizationType="hvm",
        BootMode="uefi-preferred",
        EnaSupport=True,
        RootDeviceName="/dev/xvda",
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}],
    )["ImageId"]
    (instance,) = ec2.run_instances(ImageId=ami, InstanceType="t3.micro", MinCount=1, MaxCount=1)[
        "Instances"
    ]
    try:
        deadline = time.monotonic() + BOOTED
        console = ""
        while "login:" not in console:
            assert time.monotonic() < deadline, console[-3000:]
            time.sleep(1)
            reply = ec2.get_console_output(InstanceId=instance["InstanceId"], Latest=True)
            console = reply.get("Output", "")
        return console
    finally:
        ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
