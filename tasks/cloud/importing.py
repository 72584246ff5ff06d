"""The other road to a snapshot: by S3 and ImportSnapshot, for accounts where EBS's direct APIs are denied.

The disk goes as a VMDK that is optimized for streams: compressed, without what is zero. That is safe on this road: VM Import
makes a disk of it and writes each of its blocks, so nothing of the snapshot is left unwritten.

Killed at any instant and run again it ends with one snapshot and nothing in the bucket: the object is named by content and
appears whole, the task has a token of all that is asked and is found again in the list of tasks, where it stays for a week; and
the snapshot gets its tags last of all, since VM Import gives it none: what has them is done.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.cloud import ec2, erase, importrole, importtasks, s3, snapshots, tags
from tasks.cloud.clients import WORKERS, Cloud
from tasks.cloud.importrole import Needs
from tasks.cloud.importtasks import Fruitless, Import
from tasks.cloud.refusals import asking
from tasks.kit import files
from tasks.kit.fault import CloudFault
from tasks.kit.proc import Command, run
from tasks.kit.report import Report
from tasks.spec import names
from tasks.spec.cloud import CloudSpec

PART = 16 << 20  # bytes: S3 takes 10,000 parts, which is 160 GB of VMDK


def imported(
    cloud: Cloud,
    spec: CloudSpec,
    image: Path,
    *,
    key: str,
    labels: Mapping[str, str],
    token: str,
    report: Report,
    work: Path,
) -> str:
    """A completed snapshot of a raw disk image, with these tags: its id.

    `key`: of the object, without its ending; `token`: whatever derives from the content, and is another for another content;
    `work`: a folder with room for the compressed image. Raises CloudFault, and what qemu-img's failure is.

    Needs: qemu-img; ec2:ImportSnapshot, DescribeImportSnapshotTasks, DescribeSnapshots, CreateTags; s3:CreateBucket,
    ListBucket, GetObject, PutObject, DeleteObject, AbortMultipartUpload, ListBucketMultipartUploads, GetBucketTagging,
    PutBucketTagging, PutBucketPublicAccessBlock; to say beforehand what the role lacks also iam:GetRole, ListRolePolicies,
    GetRolePolicy, ListAttachedRolePolicies, GetPolicy, GetPolicyVersion.
    """
    job = planned(cloud, spec, f"{key.removesuffix('.vmdk')}.vmdk", labels, token, report)
    disk = work / job.key.rpartition("/")[2]
    held = importtasks.listed(job)
    task = next((each for each in held if importtasks.usable(job, each)), None)
    if task is None:
        importrole.check(cloud.iam(), job.needs, report)
        ready(job, named_by_us=spec.bucket is None)
        if not s3.holds(job.bucket, job.key, job.identity):
            converted(image, disk, report)
            sent(job, disk)
        disk.unlink(missing_ok=True)
        task = importtasks.started(job, [each for each in held if not importtasks.usable(job, each)])
    snapshot = arrived(job, task.get("ImportTaskId", ""))
    snapshots.completed(job.client, snapshot, report)
    disk.unlink(missing_ok=True)
    cleared(job)
    with asking("tag the snapshot", where=f"{snapshot}, {ec2.where(job.client)}"):
        job.client.create_tags(Resources=[snapshot], Tags=tags.listed(labels))
    return snapshot


def planned(
    cloud: Cloud, spec: CloudSpec, key: str, labels: Mapping[str, str], token: str, report: Report
) -> Import:
    name, ebs = spec.bucket_in(cloud.account, cloud.region), spec.ebs
    bucket = s3.Bucket(cloud.s3(), name, owner=cloud.account, region=cloud.region)
    identity = files.digest([token, ebs.encrypted, ebs.kms_key])
    request: dict[str, Any] = {
        "Description": f"doit-ami {identity}",
        "DiskContainer": {"Format": "VMDK", "UserBucket": {"S3Bucket": name, "S3Key": key}},
        "RoleName": ebs.import_role,
    }
    if ebs.encrypted:
        request["Encrypted"] = True
        if ebs.kms_key:
            request["KmsKeyId"] = ebs.kms_key
    partition = cloud.session.get_partition_for_region(cloud.region)
    needs = Needs(ebs.import_role, name, key, ebs.kms_key, partition)
    return Import(cloud.ec2(), bucket, key, labels, identity, request, needs, report)


def ready(job: Import, *, named_by_us: bool) -> None:
    """The bucket is there and ours; a user's own keeps its settings. Unlike a bundle's it needs no ACLs."""
    labels = {names.NAME_TAG: job.bucket.name}
    if not s3.exists(job.bucket):
        s3.make(job.bucket)
        s3.settle(job.bucket, labels)
    elif named_by_us and names.BUCKET_TAG not in s3.labels_of(job.bucket):
        s3.settle(job.bucket, labels)


def converted(image: Path, disk: Path, report: Report) -> None:
    """As VMware's own tools write it: VM Import takes no other subformat, and no newer version of it."""
    report.said(f"converting {image.name} to VMDK")
    options = "adapter_type=lsilogic,subformat=streamOptimized,compat6"
    with files.appearing(disk) as scratch:
        words = (
            "qemu-img",
            "convert",
            "-f",
            "raw",
            "-O",
            "vmdk",
            "-o",
            options,
            str(image),
            str(scratch),
        )
        run(Command(words, f"make a VMDK of {image.name}"))


def sent(job: Import, disk: Path) -> None:
    """In parts, with check sums; it appears when all of them are there.

    Its metadata have the digest of what it was made of and not its own: qemu-img writes an id by chance into each VMDK.
    """
    from s3transfer.manager import TransferConfig, TransferManager

    job.report.said(f"to {job.bucket}")
    erase.end_uploads(job.bucket, erase.unfinished(job.bucket, job.key))
    config = TransferConfig(multipart_chunksize=PART, max_request_concurrency=WORKERS)
    told = {
        "ChecksumAlgorithm": "CRC32",
        "Metadata": {s3.DIGEST: job.identity},
        "ExpectedBucketOwner": job.bucket.owner,
    }
    progress: Any = Progress(job.report, disk.stat().st_size)
    with (
        asking(f"send {disk.name}", where=str(job.bucket)),
        TransferManager(job.bucket.client, config) as manager,
    ):
        manager.upload(
            str(disk), job.bucket.name, job.key, extra_args=told, subscribers=[progress]
        ).result()


class Progress:
    """What s3transfer calls, of those words that it knows."""

    def __init__(self, report: Report, total: int) -> None:
        self.report, self.total, self.done = report, total, 0
        self.lock = threading.Lock()  # parts come from several threads

    def on_queued(self, **_: Any) -> None: ...

    def on_done(self, **_: Any) -> None: ...

    def on_progress(self, *, bytes_transferred: int, **_: Any) -> None:
        """Less than nothing, when a part is sent again."""
        with self.lock:
            self.done += bytes_transferred
            self.report.moved(self.done, self.total)


def arrived(job: Import, task: str) -> str:
    try:
        return importtasks.arrived(job, task)
    except Fruitless as why:
        raise failed(job, task, str(why)) from None


def failed(job: Import, task: str, said: str) -> CloudFault:
    """Why; and what was sent is of no use to anybody."""
    hint = "put right what it says, and run doit again: it begins anew"
    if "403" in said or "role" in said:
        hint = (
            f"see that the role may read the bucket, and use the key:\n{job.needs.commands(there=True)}"
        )
    elif job.needs.kms_key and "KMS" in said:
        hint = f"aws kms describe-key --key-id {job.needs.kms_key} must show it Enabled; then run doit again"
    fault = CloudFault(
        f"EC2 could not import the image: {said or 'it gives no reason'}",
        where=f"{task}, {ec2.where(job.client)}",
        hint=hint,
    )
    try:
        cleared(job)
    except CloudFault as second:
        raise fault from second
    return fault


def cleared(job: Import) -> None:
    """Nothing of this image is in the bucket any more, not even in parts."""
    erase.end_uploads(job.bucket, erase.unfinished(job.bucket, job.key))
    erase.delete(job.bucket, [job.key])
