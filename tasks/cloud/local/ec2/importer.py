"""Whoever wants a disk image imported wakes the importer: one task after the other, each from its row, begun anew after a kill.

The raw image, filled up to whole GiB, is the snapshot's own file: its blocks follow each other there. It takes its place before
the change that makes the snapshot and ends the task; what is there without a row is removed at the next start.
"""

import hashlib
import os
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks.cloud.local.ebs import blocks, snapshots
from tasks.cloud.local.ebs.blocks import Block
from tasks.cloud.local.ebs.writing import LARGEST, NO_VOLUME
from tasks.cloud.local.ec2 import diskimages
from tasks.cloud.local.ec2.diskimages import Unfit
from tasks.cloud.local.ec2.imports import TASK
from tasks.cloud.local.iam import roles
from tasks.cloud.local.kms import keys
from tasks.cloud.local.s3.objects import Stored, fetch
from tasks.cloud.local.store import Store, Thing, every
from tasks.kit import files, proc

GIB = 1 << 30
LOOK = 0.1  # seconds between two looks whether a conversion has ended, or nobody wants it any more
KMS_ACTIONS = (
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)
ZEROS = hashlib.sha256(bytes(blocks.SIZE)).digest()


class Unwanted(Exception):
    """The task was canceled, or the cloud ends."""


class Importer:
    def __init__(self, store: Store) -> None:
        self.store, self.busy = store, False
        self.ending = threading.Event()
        self.store.imports.set()
        self.thread = threading.Thread(target=self._serve, name="importer", daemon=True)
        self.thread.start()

    def end(self) -> None:
        """Nobody is at work any more; what was not finished is begun anew when the cloud starts again."""
        self.ending.set()
        self.store.imports.set()
        self.thread.join()

    def _serve(self) -> None:
        while not self.ending.is_set():
            self.store.imports.wait()
            self.store.imports.clear()
            self.busy = True
            for task in self._waiting():
                if not self.ending.is_set():
                    self._do(task)
            self.busy = False

    def _waiting(self) -> list["Task"]:
        with self.store.lock:
            found = [Task(self.store, *each) for each in every(self.store, TASK)]
        return [each for each in found if each.thing["local"]["finished"] is None]

    def _do(self, task: "Task") -> None:
        """To its end, whatever that is: a task that waits for ever helps nobody."""
        try:
            work(task, self.ending)
        except Unwanted:
            if not self.ending.is_set():
                task.deleted()
        except Unfit as why:
            task.deleted(f"ClientError: Disk validation failed [{why}]")
        except Exception as trouble:  # noqa: BLE001 - this machine's fault or ours ends one task, and no other
            traceback.print_exc()
            task.deleted(f"ServerError: an internal error has occurred: {trouble}")


class Task:
    """A row of an import, as it was found."""

    def __init__(self, store: Store, account: str, region: str, thing: Thing) -> None:
        self.store, self.account, self.region, self.thing = store, account, region, thing
        self.identity: str = thing["ImportTaskId"]
        self.things = store.things(TASK, account, region)

    @property
    def wanted(self) -> bool:
        with self.store.lock:
            found = self.things.get(self.identity)
        return found is not None and found["SnapshotTaskDetail"]["Status"] == "active"

    def moved(self, **told: Any) -> None:
        with self.store.change():
            self.save(told)

    def deleted(self, message: str | None = None) -> None:
        """Its end without a snapshot. Without a message, it has one."""
        told = {"Status": "deleted"} | ({"StatusMessage": message} if message else {})
        with suppress(Unwanted), self.store.change():
            self.save(told, finished=time.time())

    def save(self, told: dict[str, Any], finished: float | None = None) -> None:
        """Within a change. Raises Unwanted when it is to go on, and was canceled."""
        found = self.things.get(self.identity)
        if found is None:
            raise Unwanted
        detail, status = found["SnapshotTaskDetail"], told.get("Status")
        if detail["Status"] != "active" and status != "deleted":
            raise Unwanted
        if status == "completed":
            del detail["StatusMessage"]
        found |= {
            "SnapshotTaskDetail": detail | told,
            "local": found["local"] | {"finished": finished},
        }
        self.things.save(self.identity, found)


def work(task: Task, ending: threading.Event) -> None:
    """Raises Unfit when the image cannot become a snapshot, Unwanted when it shall not."""
    detail = task.thing["SnapshotTaskDetail"]
    if not task.wanted:
        raise Unwanted
    stored, key = _object(task), _key(task)
    task.moved(DiskImageSize=float(stored.size), StatusMessage="downloading/converting", Progress="5")
    source, raw = task.store.new_scratch(), task.store.new_scratch()
    try:
        image = _one_file(stored, source)
        diskimages.judge(image, detail["Format"])
        _convert(task, diskimages.conversion(image, detail["Format"], raw), ending)
        size = -(-raw.stat().st_size // GIB) or 1
        if size > LARGEST:
            raise Unfit(f"The disk has {size} GiB; a volume may have {LARGEST}")
        os.truncate(raw, size * GIB)
        task.moved(Progress="70")
        digests = list(_digests(raw, task, ending))
        _snapshot(task, raw, size, digests, key)
    finally:
        source.unlink(missing_ok=True)
        raw.unlink(missing_ok=True)


def _object(task: Task) -> Stored:
    """Read as the role. In the words of keithvassallomt/windows10-ec2#3, which are EC2's."""
    place = task.thing["SnapshotTaskDetail"]["UserBucket"]
    bucket, key = place["S3Bucket"], place["S3Key"]
    with task.store.lock:
        role = roles.role(task.store, task.account, task.thing["local"]["role"])
    found = fetch(task.store, bucket, key)
    if found is None:
        raise Unfit("We do not have access to the given resource. Reason 404 Not Found")
    permitted = role is not None and roles.allows(role, "s3:GetObject", f"arn:aws:s3:::{bucket}/{key}")
    if not permitted or found.account != task.account:
        raise Unfit("We do not have access to the given resource. Reason 403 Forbidden")
    return found


def _key(task: Task) -> str | None:
    """The ARN of the key. What VM Import says of one that it cannot use is documented nowhere; that it comes late is."""
    local = task.thing["local"]
    if not local["encrypted"]:
        return None
    usual = keys.default_key(task.account, task.region)
    if not local["key"]:
        return usual
    with task.store.lock:
        arn, trouble = keys.usable(task.store, task.account, task.region, local["key"])
        role = roles.role(task.store, task.account, local["role"])
    if trouble:
        raise Unfit(f"The KMS key {local['key']} cannot be used: it is {trouble}")
    if arn != usual and not (role and all(roles.allows(role, action, arn) for action in KMS_ACTIONS)):
        raise Unfit(f"The service role {local['role']} may not use the KMS key {arn}")
    return arn


def _one_file(stored: Stored, scratch: Path) -> Path:
    if len(stored.files) == 1:
        return stored.files[0]
    with scratch.open("xb") as file:
        for data in stored.chunks():
            file.write(data)
    return scratch


def _convert(task: Task, command: proc.Command, ending: threading.Event) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        process = proc.spawn(command, stdin=nothing, stdout=proc.PIPE, stderr=proc.STDOUT)
    finally:
        os.close(nothing)
    try:
        while process.poll() is None:
            if ending.wait(LOOK) or not task.wanted:
                raise Unwanted
        said = process.stdout.read() if process.stdout else b""
    finally:
        process.kill()
        process.communicate()
    if process.returncode:
        lines = said.decode(errors="replace").splitlines() or [
            f"qemu-img ended with {process.returncode}"
        ]
        if any(proc.FULL in line for line in lines):
            raise OSError(lines[-1])
        raise Unfit(lines[-1])


def _digests(raw: Path, task: Task, ending: threading.Event) -> Iterator[bytes]:
    """Of each block, in order; all of it on the disk then."""
    with raw.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        for at in range(0, size, blocks.SIZE):
            if at % GIB == 0 and (ending.is_set() or not task.wanted):
                raise Unwanted
            yield ZEROS if _hole(file.fileno(), at) else _digest(file.fileno(), at)
        os.fsync(file.fileno())


def _hole(handle: int, at: int) -> bool:
    with suppress(OSError):  # ENXIO: there is nothing more
        return os.lseek(handle, at, os.SEEK_DATA) >= at + blocks.SIZE
    return True


def _digest(handle: int, at: int) -> bytes:
    return hashlib.sha256(os.pread(handle, blocks.SIZE, at)).digest()


def _snapshot(task: Task, raw: Path, size: int, digests: list[bytes], key: str | None) -> None:
    """Every block counts as written: VM Import sends them all. The tags of the task are not the snapshot's."""
    store, identity, now = task.store, snapshots.new_id(), time.time()
    folder = blocks.folder(store)
    folder.mkdir(exist_ok=True)
    raw.rename(folder / identity)
    files.settle(folder)
    thing = {
        "SnapshotId": identity,
        "OwnerId": task.account,
        "VolumeId": NO_VOLUME,
        "VolumeSize": size,
        "Description": f"Created by AWS-VMImport service for {task.identity}",
        "StartTime": now,
        "Progress": 100,
        "Tags": [],
        "Encrypted": key is not None,
        "KmsKeyId": key,
        "Parent": None,
        "Line": identity,
        "Timeout": 0,
        "Touched": now,
        "Sealed": now,
        "Users": [],
        "Groups": [],
    }
    told = {"Status": "completed", "Progress": "100", "SnapshotId": identity}
    if key:
        told["KmsKeyId"] = key
    try:
        with store.change() as db:
            task.save(told, finished=now)
            store.things(snapshots.KIND, task.account, task.region).add(identity, thing)
            for index, digest in enumerate(digests):
                blocks.put(db, identity, Block(index, digest, identity, index * blocks.SIZE))
    except Unwanted:
        (folder / identity).unlink()
        raise
