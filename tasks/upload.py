"""A bundle to its bucket, whole: the parts, then the manifest.

In:    a manifest and its parts, and their stamp
Out:   a receipt: bucket, keys, ETags, sizes
Needs: an account; s3:CreateBucket, ListBucket, GetObject, PutObject, PutObjectAcl and the bucket's settings

Keys derive from the content, so a killed run is taken up by asking what is there.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.cloud import s3
from tasks.cloud.clients import WORKERS, Cloud, connect
from tasks.kit.fault import CloudFault, ImageFault
from tasks.kit.report import Report
from tasks.spec import names, record
from tasks.spec.cloud import CloudSpec
from tasks.spec.part import Part

RECIPE = 1
TOLD = 20  # files that a fault names


class Order(Part):
    """All this stage may know; its digest decides whether the stage runs."""

    image: str
    cloud: CloudSpec


@dataclass(frozen=True)
class Load:
    """One file on its way to one key."""

    source: Path
    part: record.PartFile
    key: str


def body(
    order: Order, *, report: Report, manifest: Path, bundle: Path, home: Path, receipt: Path
) -> None:
    stamp = record.BundleStamp.read(bundle)
    report.said(f"connecting to {order.cloud.name}")
    cloud = connect(order.cloud, home)
    bucket = bucket_of(order, cloud)
    s3.prepare(bucket, {names.NAME_TAG: bucket.name}, named_by_us=order.cloud.bucket is None)
    folder = names.folder(order.cloud, order.image)
    s3.abort_stale(bucket, f"{folder}/", now=record.now())
    prefix = f"{folder}/{stamp.digest[:16]}/"
    parts = [Load(manifest.parent / part.name, part, prefix + part.name) for part in stamp.parts]
    last = Load(manifest, stamp.manifest, prefix + stamp.manifest.name)
    report.said(f"to {bucket}")
    send(parts, last, bucket, report)
    stored = verified([*parts, last], bucket, prefix)
    proof = record.UploadReceipt(
        account=cloud.account,
        region=cloud.region,
        sha256=stamp.sha256,
        digest=stamp.digest,
        bucket=bucket.name,
        location=f"{bucket.name}/{last.key}",
        objects=stored,
        cloud_id=cloud.id,
        at=record.now(),
    )
    proof.keep(receipt)


def bucket_of(order: Order, cloud: Cloud) -> s3.Bucket:
    name = order.cloud.bucket_in(cloud.account, cloud.region)
    return s3.Bucket(cloud.s3(), name, owner=cloud.account, region=cloud.region)


def send(parts: list[Load], last: Load, bucket: s3.Bucket, report: Report) -> None:
    """What is not there yet. The manifest comes when all else is there: whoever finds it finds a whole bundle."""
    held = s3.listing(bucket, last.key.removesuffix(last.part.name))
    total, done = sum(load.part.size for load in (*parts, last)), 0
    with workers() as pool:
        tasks = {pool.submit(deliver, load, bucket, held.get(load.key)): load for load in parts}
        for task in as_completed(tasks):
            task.result()
            done += tasks[task].part.size
            report.moved(done, total)
    deliver(last, bucket, held.get(last.key))
    report.moved(total, total)


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """A few threads, each with one part in memory; the first failure calls off what has not begun."""
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="upload")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def deliver(load: Load, bucket: s3.Bucket, held: record.Stored | None) -> None:
    if held is None or held.size != load.part.size or not s3.holds(bucket, load.key, load.part.sha256):
        s3.put(bucket, load.key, content(load), load.part.sha256)


def content(load: Load) -> bytes:
    """Raises ImageFault unless the file is what the bundle's stamp says."""
    again = f"delete {load.source} and run doit again: the bundle is made anew"
    try:
        with load.source.open("rb") as file:
            data = file.read(load.part.size + 1)
    except FileNotFoundError:
        raise ImageFault(
            f"{load.source.name} is gone, though the bundle's stamp names it",
            where=str(load.source),
            hint=again,
        ) from None
    if len(data) != load.part.size or hashlib.sha256(data).hexdigest() != load.part.sha256:
        raise ImageFault(
            f"{load.source.name} was changed after it was bundled", where=str(load.source), hint=again
        )
    return data


def verified(loads: list[Load], bucket: s3.Bucket, prefix: str) -> tuple[record.Stored, ...]:
    """What the bucket says it holds now. Raises CloudFault unless that is all of it."""
    held = s3.listing(bucket, prefix)
    wrong = [load.key for load in loads if load.key not in held or held[load.key].size != load.part.size]
    if wrong:
        raise CloudFault(
            f"{len(wrong)} of {len(loads)} files are not in the bucket, or not whole, though each was accepted",
            evidence=wrong[:TOLD],
            where=str(bucket),
            hint="see whether something else (a lifecycle rule, another run) deletes there, then run doit again",
        )
    return tuple(held[load.key] for load in loads)
