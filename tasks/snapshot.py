"""A disk image to an EBS snapshot: block by block, only those that changed, and once, however often it is killed.

In:    <image>.img, its stamp, its block list; the last snapshot's ledger, the journal of a run that was killed
Out:   upload.stamp, which names the snapshot; the ledger of what it holds
Needs: ebs:StartSnapshot, PutSnapshotBlock, CompleteSnapshot; ec2:DescribeSnapshots, CreateTags, DeleteSnapshot (its own that
       came to nothing); with a KMS key kms:GenerateDataKeyWithoutPlaintext, ReEncrypt*, CreateGrant, DescribeKey on it;
       with `road: import` what tasks/cloud/importing.py says
"""

from pathlib import Path

from tasks.cloud import sending, snapshots
from tasks.cloud.clients import Cloud, connect
from tasks.cloud.sending import Job
from tasks.kit.fault import ConfigFault, ImageFault
from tasks.kit.report import Report
from tasks.spec import names, record
from tasks.spec.cloud import CloudSpec
from tasks.spec.part import Part
from tasks.spec.record import BlockList, ImgStamp, UploadReceipt
from tasks.spec.tool import Tool

RECIPE = 1


class Order(Part):
    """All this stage may know; its digest decides whether the stage runs."""

    image: str
    cloud: CloudSpec


def tools(order: Order) -> tuple[Tool, ...]:
    if order.cloud.ebs.road == "direct":
        return ()
    return (Tool("qemu-img", "to pack the disk as ImportSnapshot takes it", "qemu-utils", "qemu-img"),)


def body(
    order: Order,
    *,
    report: Report,
    img: Path,
    stamp: Path,
    blocks: Path,
    home: Path,
    ledger: Path,
    journal: Path,
    receipt: Path,
) -> None:
    listed, stamped = BlockList.read(blocks), ImgStamp.read(stamp)
    check(listed, stamped, img)
    report.said(f"connecting to {order.cloud.name}")
    cloud = connect(order.cloud, home)
    check_key(order.cloud, cloud)
    job = Job(
        order.image, order.cloud, report, cloud, cloud.ec2(), cloud.ebs(), listed, img, ledger, journal
    )
    snapshot = obtained(job)
    stamped.file.check(img)
    proof = UploadReceipt(
        **job.place, sha256=listed.sha256, digest=listed.digest, location=snapshot, at=record.now()
    )
    proof.keep(receipt)
    journal.unlink(missing_ok=True)


def check(blocks: BlockList, stamp: ImgStamp, img: Path) -> None:
    """Raises ImageFault unless image, stamp and block list speak of the same bytes."""
    stamp.file.check(img)
    if blocks.sha256 != stamp.file.sha256:
        raise ImageFault(
            "the block list is of another image",
            where=str(img),
            hint="delete the block list and run doit again: it is made anew",
        )
    if img.stat().st_size != blocks.volume_size or blocks.volume_size % snapshots.GIB:
        raise ImageFault(
            f"the image has {img.stat().st_size} bytes, and its block list is of {blocks.volume_size}: a volume has whole GiB",
            where=str(img),
            hint="write a `disk.size` in whole GiB, delete the block list and run doit again",
        )


def check_key(spec: CloudSpec, cloud: Cloud) -> None:
    key = spec.ebs.kms_key
    if key and (region := key.split(":")[3]) != cloud.region:
        raise ConfigFault(
            f"ebs.kms_key: the key is of {region}, and the snapshot will be in {cloud.region}",
            where=f"config/clouds/{spec.name}.yaml",
            hint="write the ARN of a key of that region; a multi-Region key has one in each",
        )


def obtained(job: Job) -> str:
    """The completed snapshot: found, or made."""
    snapshot = snapshots.found(job.ec2, job.image, job.digest)
    if snapshot:
        sending.settled(job, snapshot)
    elif job.spec.ebs.road == "import":
        snapshot = imported(job)
    else:
        snapshot = sending.sent(job)
    return snapshot


def imported(job: Job) -> str:
    """By S3 and ImportSnapshot. What it holds where nobody reads is not known, so no ledger is kept: it is nobody's parent."""
    from tasks.cloud.importing import imported as by_s3

    return by_s3(
        job.cloud,
        job.spec,
        job.img,
        key=f"{names.folder(job.spec, job.image)}/{job.digest[:16]}",
        labels=job.labels,
        token=job.digest,
        report=job.report,
        work=job.journal.parent,
    )
