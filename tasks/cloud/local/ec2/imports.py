"""ImportSnapshot: a disk image in S3 becomes a snapshot, after the reply. What does the work is `importer`.

A thing of the kind `import-snapshot-task` has EC2's names, and under `local` what only the work needs: the role, the key that
was asked for, when it was finished. What AWS looks at before it answers, and what it finds out later, is told in
"Required permissions for VM Import/Export" and by those who met its refusals (osbuild/osbuild-composer#706).
"""

from typing import Any

from tasks.cloud.local.call import Answer, Asked, Call, once
from tasks.cloud.local.ec2.filters import matching
from tasks.cloud.local.ec2.service import SERVICE, new_id, paged
from tasks.cloud.local.ec2.tagging import tags_asked
from tasks.cloud.local.iam import roles
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.s3.service import bucket_named
from tasks.cloud.local.store import Store, Thing

TASK = "import-snapshot-task"
ROLE = "vmimport"
SERVICE_NAME, EXTERNAL_ID = "vmie.amazonaws.com", "vmimport"
SHOWN = 7 * 86400.0  # seconds that a task is told of after its end
MOST = 20  # tasks that may be at work in a region ("VM Import/Export quotas": concurrent ImportSnapshot tasks)
ON_BUCKET = ("s3:GetBucketLocation", "s3:ListBucket")
# Describe* as the guide has it: that the role may describe is seen by what an import describes
ON_EC2 = (
    "ec2:ModifySnapshotAttribute",
    "ec2:CopySnapshot",
    "ec2:RegisterImage",
    "ec2:DescribeSnapshots",
    "ec2:DescribeImages",
)
FILTERS = {"task-state": lambda shown: shown["SnapshotTaskDetail"]["Status"]}


@SERVICE.operation
def import_snapshot(call: Call) -> Answer:
    conflict = Refusal(
        "IdempotentParameterMismatch",
        "The request uses the same client token as a previous, but non-identical request.",
    )
    return once(call, call.get("ClientToken"), conflict, lambda: _started(call))


def _started(call: Call) -> Answer:
    identity, container = new_id("import-snap"), call.get("DiskContainer")
    if container is None or not container.get("Format") or container.get("UserBucket") is None:
        raise Refusal(
            "MissingParameter", "The request must contain DiskContainer with Format and UserBucket"
        )
    place = _place(container["UserBucket"])
    name = call.get("RoleName", ROLE)
    encryption = _encryption(call)
    _bucket_here(call, place["S3Bucket"])
    _may_work(call, name, place["S3Bucket"])
    if sum(_active(each) for each in call.things(TASK).all()) >= MOST:
        raise Refusal("ResourceCountLimitExceeded", f"There are {MOST} active import tasks already")
    detail = {
        "Description": container.get("Description"),
        "DiskImageSize": 0.0,
        "Encrypted": encryption["encrypted"],
        "Format": container["Format"].upper(),
        "Progress": "0",
        "Status": "active",
        "StatusMessage": "pending",
        "UserBucket": place,
    }
    task = {
        "ImportTaskId": identity,
        "Description": call.get("Description"),
        "SnapshotTaskDetail": {key: value for key, value in detail.items() if value is not None},
        "Tags": tags_asked(call, TASK),
        "local": {"role": name, "finished": None, **encryption},
    }
    call.things(TASK).add(identity, task)
    call.then.append(call.store.imports.set)
    return shown(call.store, task, call.now)


def _place(asked: Asked) -> dict[str, str]:
    bucket, key = asked.get("S3Bucket"), asked.get("S3Key")
    if not (bucket and key):
        raise Refusal("MissingParameter", "UserBucket must contain S3Bucket and S3Key")
    return {"S3Bucket": bucket, "S3Key": key}


def _encryption(call: Call) -> dict[str, Any]:
    """Whether the key exists, and may be used, AWS finds out later."""
    encrypted, key = call.get("Encrypted", False), call.get("KmsKeyId")
    if key and not encrypted:
        raise Refusal(
            "InvalidParameter", "If a KmsKeyId is specified, the Encrypted flag must also be set"
        )
    return {"encrypted": encrypted, "key": key}


def _bucket_here(call: Call, name: str) -> None:
    bucket = bucket_named(call.store, name)
    if bucket is not None and bucket.region != call.region:
        raise Refusal("InvalidParameter", "The given S3 bucket is not local to the region")


def _may_work(call: Call, name: str, bucket: str) -> None:
    """The role is there, EC2's importer may take it on, and what it does first is allowed."""
    thing = roles.role(call.store, call.account, name)
    context = {
        "sts:externalid": EXTERNAL_ID,
        "aws:sourceaccount": call.account,
        "aws:sourcearn": f"arn:aws:vmie:{call.region}:{call.account}:{TASK}",
    }
    wanted = [(action, f"arn:aws:s3:::{bucket}") for action in ON_BUCKET]
    wanted += [(action, f"arn:aws:ec2:{call.region}:{call.account}:*") for action in ON_EC2]
    if (
        thing is None
        or not roles.trusts(thing, SERVICE_NAME, context)
        or not all(roles.allows(thing, action, on) for action, on in wanted)
    ):
        raise Refusal(
            "InvalidParameter",
            f"The service role {name} provided does not exist or does not have sufficient permissions",
        )


def _active(task: Thing) -> bool:
    return task["SnapshotTaskDetail"]["Status"] in ("active", "deleting")


def shown(store: Store, task: Thing, now: float) -> dict[str, Any]:
    """As EC2 tells of it. What is finished is shown so once it is more than pending, like all that is made here."""
    detail: dict[str, Any] = task["SnapshotTaskDetail"]
    if detail["Status"] == "completed" and now < task["local"]["finished"] + store.setting("pending"):
        detail = {key: value for key, value in detail.items() if key != "SnapshotId"} | {
            "Status": "active",
            "StatusMessage": "downloading/converting",
            "Progress": "99",
        }
    told = {key: task[key] for key in ("ImportTaskId", "Description", "Tags") if task[key]}
    return {**told, "SnapshotTaskDetail": detail}


@SERVICE.operation
def describe_import_snapshot_tasks(call: Call) -> Answer:
    asked = call.get("ImportTaskIds", ())
    held = {each["ImportTaskId"]: each for each in call.things(TASK).listed() if _told(each, call.now)}
    for identity in asked:
        if identity not in held:
            raise absent(identity)
    found = [
        shown(call.store, each, call.now) for key, each in held.items() if not asked or key in asked
    ]
    return paged(call, matching(call, found, FILTERS), "ImportSnapshotTasks", least=1)


def _told(task: Thing, now: float) -> bool:
    finished = task["local"]["finished"]
    return finished is None or now < finished + SHOWN


@SERVICE.operation
def cancel_import_task(call: Call) -> Answer:
    """One that is at work; who is at work on it lets go when he sees it."""
    identity, reason = call.asked["ImportTaskId"], call.get("CancelReason")
    task = call.things(TASK).get(identity)
    if task is None:
        raise absent(identity)
    detail = task["SnapshotTaskDetail"]
    before = detail["Status"]
    if before != "active":
        raise Refusal("IncorrectState", f"The task {identity} is {before}, and cannot be canceled")
    detail |= {"Status": "deleting", "StatusMessage": reason or "User requested cancellation"}
    call.things(TASK).save(identity, task)
    call.then.append(call.store.imports.set)
    return {"ImportTaskId": identity, "PreviousState": before, "State": "deleting"}


def absent(identity: str) -> Refusal:
    return Refusal("InvalidConversionTaskId", f"The import task ID {identity} does not exist")
