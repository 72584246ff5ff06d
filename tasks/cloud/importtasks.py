"""ImportSnapshot's tasks as the import needs them: found again, started once, waited for."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from tasks.cloud import ec2, s3, snapshots, tags
from tasks.cloud.importrole import Needs
from tasks.cloud.refusals import asking, code_of, message_of
from tasks.kit import files
from tasks.kit.fault import CloudFault
from tasks.kit.report import Report
from tasks.spec import names

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import ImportSnapshotRequestTypeDef, ImportSnapshotTaskTypeDef

STILL = 3600.0  # seconds without any progress after which we stop watching: a large disk stands for minutes at a time
UNSHOWN = 60.0  # seconds until what was started shows in lists
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds between two looks: an import takes minutes
ATTEMPTS = 20  # tasks of one request that came to nothing, of which EC2 remembers the tokens
KILLED = ("deleted", "deleting")


class Fruitless(Exception):
    """A task ended without a snapshot. Its text is why, in EC2's words."""


@dataclass(frozen=True)
class Import:
    """One image on its way. `request`: all that EC2 is asked, but the token; `identity`: the digest of all that decides what comes."""

    client: "EC2Client"
    bucket: s3.Bucket
    key: str
    labels: Mapping[str, str]
    identity: str
    request: dict[str, Any]
    needs: Needs
    report: Report


def listed(job: Import) -> "list[ImportSnapshotTaskTypeDef]":
    """That were started for this, by whichever run. There is no filter for what they are called."""
    pages = job.client.get_paginator("describe_import_snapshot_tasks")
    with asking("list the import tasks", where=ec2.where(job.client)):
        return [
            each
            for page in pages.paginate()
            for each in page["ImportSnapshotTasks"]
            if each.get("Description") == job.request["Description"]
        ]


def usable(job: Import, task: "ImportSnapshotTaskTypeDef") -> bool:
    """It works, or its snapshot is still there."""
    detail = task.get("SnapshotTaskDetail", {})
    if detail.get("Status") in KILLED:
        return False
    snapshot = detail.get("SnapshotId")
    return not snapshot or snapshots.state_of(snapshots.by_id(job.client, snapshot)) in (
        "pending",
        "completed",
    )


def started(job: Import, spent: "list[ImportSnapshotTaskTypeDef]") -> "ImportSnapshotTaskTypeDef":
    """A task: the same again for the same request, until it has come to nothing."""
    ids = {each.get("ImportTaskId") for each in spent}
    for attempt in range(len(spent), len(spent) + ATTEMPTS):
        found = asked(job, attempt)
        if found.get("ImportTaskId") not in ids and usable(job, found):
            return found
    raise CloudFault(
        f"EC2 has {ATTEMPTS} imports of this image that came to nothing, and starts no new one",
        where=ec2.where(job.client),
        hint="aws ec2 describe-import-snapshot-tasks shows why; put that right, and change the image, or wait for a week",
    )


def asked(job: Import, attempt: int) -> "ImportSnapshotTaskTypeDef":
    from botocore.exceptions import ClientError

    labels = {names.NAME_TAG: job.key, **job.labels}
    tagged = [{"ResourceType": "import-snapshot-task", "Tags": tags.listed(labels)}]
    wish = {**job.request, "TagSpecifications": tagged}
    token = files.digest([wish, attempt])  # 64 characters, as many as EC2 takes
    with asking("import the snapshot", where=ec2.where(job.client)):
        try:
            reply = job.client.import_snapshot(
                **cast("ImportSnapshotRequestTypeDef", {**wish, "ClientToken": token})
            )
        except ClientError as error:
            if code_of(error) == "InvalidParameter" and "service role" in message_of(error):
                raise unfit_role(job, message_of(error)) from error
            raise
    return cast("ImportSnapshotTaskTypeDef", reply)


def unfit_role(job: Import, said: str) -> CloudFault:
    return CloudFault(
        f"EC2 cannot import as the role {job.needs.name}",
        evidence=(said,),
        where=f"IAM role {job.needs.name}",
        hint="a role takes effect some seconds after it was made: run doit again; if it says the same, these commands make"
        f" what it needs (for one that is there: update-assume-role-policy in place of create-role):\n{job.needs.commands()}",
    )


def arrived(
    job: Import,
    task: str,
    *,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """The snapshot's id, once the task is completed. Raises Fruitless when it will not be, CloudFault when it stands still."""
    since, before, looks = clock(), ("", ""), 0
    while True:
        found = by_id(job.client, task)
        detail = found.get("SnapshotTaskDetail", {}) if found else {}
        status, said = detail.get("Status", ""), detail.get("StatusMessage", "")
        if status == "completed" and (snapshot := detail.get("SnapshotId")):
            return snapshot
        if status in KILLED:
            raise Fruitless(said)
        progress = (detail.get("Progress", ""), said)
        since, before = (clock(), progress) if progress != before else (since, before)
        if clock() - since > (STILL if found else UNSHOWN):
            raise CloudFault(
                f"{task} stands still: {said or 'EC2 tells nothing about it'}",
                where=ec2.where(job.client),
                hint=f"run doit again: it goes on waiting; or end it: aws ec2 cancel-import-task --import-task-id {task}",
            )
        job.report.said(f"{task}: {said}")
        if progress[0].isdecimal():
            job.report.moved(int(progress[0]), 100, "%")
        pause(PAUSES[min(looks, len(PAUSES) - 1)])
        looks += 1


def by_id(client: "EC2Client", task: str) -> "ImportSnapshotTaskTypeDef | None":
    """None as long as lists do not show it."""
    from botocore.exceptions import ClientError

    with asking("look at the import task", where=f"{task}, {ec2.where(client)}"):
        try:
            found = client.describe_import_snapshot_tasks(ImportTaskIds=[task])["ImportSnapshotTasks"]
        except ClientError as error:
            if code_of(error).startswith("InvalidConversionTaskId"):
                return None
            raise
    return found[0] if found else None
