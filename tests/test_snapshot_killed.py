"""The stage `upload` of an EBS-backed image, killed at fifty instants: one snapshot in the end, and hardly a block sent twice."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tasks import snapshot
from tasks.cloud.pace import FIRST
from tests import clouds
from tests.blockdisks import SIZE, Disk, held

ROOT = Path(__file__).parents[1]
KILLS = 50
BLOCKS = 400
LONGEST = 0.8  # seconds of a run: the pace can have doubled once by then
IN_FLIGHT = 2 * FIRST

# Imports once, then forks a run for each line it reads: a delay in seconds after which the run is killed. Nothing of ours
# runs in the parent, so each child is as new as a process of its own, without the second that Python needs to come up.
FORKS = """
import os, signal, sys, time
from pathlib import Path
import boto3, botocore.auth, botocore.awsrequest, botocore.parsers
from tasks import snapshot
from tasks.cloud import clients, crew, puts, sending
from tasks.kit.report import Silent
from tasks.cloud.clients import connect
order = snapshot.Order.model_validate_json(sys.argv[1])
home, at = Path(sys.argv[2]), Path(sys.argv[3])
clients.models().load_service_model("ec2", "service-2"), clients.models().load_service_model("ebs", "service-2")
names = ("stamp", "blocks", "ledger", "journal", "receipt")
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            snapshot.body(order, report=Silent(), img=at / "one.img", home=home, **{name: at / name for name in names})
            code = 0
        finally:
            os._exit(code)
    end, status = time.monotonic() + float(line), 0
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.002)
    else:
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


@pytest.fixture
def cloud(localcloud):
    localcloud.announce()
    return localcloud


class Runs:
    """The stage, run again and again, for as long as it is let live."""

    def __init__(self, disk: Disk, home: Path) -> None:
        order = snapshot.Order(image="debian-12", cloud=clouds.LOCAL)
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORKS, order.model_dump_json(), str(home), str(disk.folder)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def one(self, seconds: float) -> bool:
        """Whether it came to its end before it was killed."""
        told, answer = self.process.stdin, self.process.stdout
        assert told
        assert answer
        told.write(f"{seconds}\n")
        told.flush()
        code = int(answer.readline())
        assert code in (0, -9)
        return code == 0


def test_killed_fifty_times_there_is_one_snapshot_and_hardly_a_block_was_sent_twice(tmp_path, cloud):
    """SIGKILL at random instants of random runs, of an image and then of the next one: each ends as one completed snapshot,
    with no pending one beside it; a block goes again only if it was on its way when the kill came.
    """
    luck, kills, images = random.Random(11), 0, set[str]()
    disk = Disk(tmp_path / "disk", {index: index % 7 for index in range(BLOCKS)})
    runs = Runs(disk, cloud.home)
    # As over a network: so that runs are killed in the middle of blocks, not before or after all of them.
    cloud.faults({"operation": "ebs:PutSnapshotBlock", "kind": "slow", "seconds": 0.1, "times": None})
    with runs.process:
        while kills < KILLS:
            before = kills
            while not runs.one(luck.uniform(0, LONGEST) if kills < KILLS else 60):
                kills += 1
            (new,) = set(shown(cloud)) - images
            images.add(new)
            sent = (cloud.home / "snapshots" / new).stat().st_size // SIZE
            assert sent <= BLOCKS + IN_FLIGHT * (kills - before)
            blocks = held(cloud.client("ebs"), new)
            assert {index: blocks[index] for index, _ in disk.blocks.blocks} == dict(disk.blocks.blocks)
            assert not disk.path("journal").exists()
            disk.write({index: (seed + 1) % 7 for index, seed in disk.content.items()})
    assert set(shown(cloud).values()) == {"completed"}


def shown(cloud) -> dict[str, str]:
    found = cloud.client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"]
    return {each["SnapshotId"]: each["State"] for each in found}
