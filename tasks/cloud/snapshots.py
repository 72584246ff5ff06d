"""Snapshots as the upload needs them: found by tag and by id, started once, completed, waited for, deleted."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.cloud import ec2, tags
from tasks.cloud.crew import Spent
from tasks.cloud.puts import reason_of, spent
from tasks.cloud.refusals import asking, code_of
from tasks.kit.fault import CloudFault
from tasks.kit.report import Report
from tasks.plan.delta import Delta, aggregate
from tasks.spec import names
from tasks.spec.cloud import Ebs

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_ebs import EBSClient
    from mypy_boto3_ebs.type_defs import StartSnapshotRequestTypeDef
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef, SnapshotTypeDef

GIB = 1 << 30
TIMEOUT = (
    1440  # minutes until EBS gives up a snapshot that gets no block: a day to go on with a killed upload
)
LIMIT = (
    1800.0  # seconds from the last block to completed: EBS copies them to S3 first, which takes minutes
)
VISIBLE = 60.0  # seconds until what was started shows in lists: they lag behind the deed
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # seconds between two looks
PAGE = 200
KEY_TROUBLE = {"INVALID_CUSTOMER_KEY", "INVALID_GRANT_TOKEN", "INVALID_DEPENDENCY_REQUEST", "DEPENDENCY_ACCESS_DENIED"}  # fmt: skip
FOREIGN = {"UNAUTHORIZED_ACCOUNT", "DEPENDENCY_RESOURCE_NOT_FOUND"}
DOCUMENTED = "docs.aws.amazon.com/ebs/latest/userguide/ebsapi-permissions.html"


class Taken(Exception):
    """The client token belongs to another request."""


class Orphaned(Exception):
    """EBS does not take the parent."""


@dataclass(frozen=True)
class Wish:
    """What is to be started. `size`: GiB."""

    size: int
    token: str
    description: str
    labels: Mapping[str, str]
    parent: str
    ebs: Ebs

    def request(self) -> "StartSnapshotRequestTypeDef":
        """A child is encrypted as its parent is: EBS takes no word about it."""
        wish: StartSnapshotRequestTypeDef = {
            "VolumeSize": self.size,
            "ClientToken": self.token,
            "Description": self.description,
            "Tags": tags.listed(self.labels),
            "Timeout": TIMEOUT,
        }
        if self.parent:
            wish["ParentSnapshotId"] = self.parent
        elif self.ebs.encrypted:
            wish["Encrypted"] = True
            if self.ebs.kms_key:
                wish["KmsKeyArn"] = self.ebs.kms_key
        return wish


def labelled(client: "EC2Client", labels: Mapping[str, str], state: str) -> "list[SnapshotTypeDef]":
    """Our account's, with all of these tags."""
    pages = client.get_paginator("describe_snapshots")
    filters: list[FilterTypeDef] = [{"Name": "status", "Values": [state]}]
    filters += [{"Name": f"tag:{key}", "Values": [value]} for key, value in labels.items()]
    with asking("list the snapshots", where=ec2.where(client)):
        found = pages.paginate(OwnerIds=["self"], Filters=filters, PaginationConfig={"PageSize": PAGE})
        return [each for page in found for each in page["Snapshots"]]


def found(client: "EC2Client", image: str, digest: str) -> str:
    """The completed one of this image with this content, or nothing. Raises CloudFault when there are several."""
    labels = {names.IMAGE_TAG: image, names.DIGEST_TAG: digest}
    held = sorted(id_of(each) for each in labelled(client, labels, "completed"))
    if len(held) > 1:
        raise CloudFault(
            f"{len(held)} snapshots of {image} have the same content, and it is not said which one counts",
            evidence=held[:10],
            where=ec2.where(client),
            hint=f"delete all but the one that AMIs use: aws ec2 delete-snapshot --snapshot-id {held[-1]}",
        )
    return held[0] if held else ""


def by_id(client: "EC2Client", snapshot: str) -> "SnapshotTypeDef | None":
    """None when it is gone, may not be seen, or is not shown yet."""
    from botocore.exceptions import ClientError

    with asking("look at the snapshot", where=f"{snapshot}, {ec2.where(client)}"):
        try:
            shown = client.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
        except ClientError as error:
            if code_of(error) in {"InvalidSnapshot.NotFound", "InvalidSnapshotID.Malformed"}:
                return None
            raise
    return shown[0] if shown else None


def id_of(snapshot: "SnapshotTypeDef") -> str:
    return snapshot.get("SnapshotId", "")


def state_of(snapshot: "SnapshotTypeDef | None") -> str:
    return str(snapshot.get("State", "pending")) if snapshot else ""


def start(client: "EBSClient", wish: Wish) -> str:
    """Its id; the same again for the same wish. Raises Taken, CloudFault."""
    from botocore.exceptions import ClientError

    where = f"EBS in {client.meta.region_name}"
    with asking("start a snapshot", where=where):
        try:
            return client.start_snapshot(**wish.request())["SnapshotId"]
        except ClientError as error:
            if code_of(error) == "ConflictException":
                raise Taken(str(error)) from error
            if wish.parent and (spent(error) or reason_of(error) in FOREIGN):
                raise Orphaned(" ".join(str(error).split())) from error
            if fault := _unstartable(error, wish, where):
                raise fault from error
            raise


def _unstartable(error: "ClientError", wish: Wish, where: str) -> CloudFault | None:
    said = (" ".join(str(error).split()),)
    if code_of(error) == "ConcurrentLimitExceededException":
        return CloudFault(
            "could not start a snapshot: the account has as many pending ones as it may",
            evidence=said,
            where=where,
            hint="aws ec2 describe-snapshots --owner-ids self --filters Name=status,Values=pending"
            " shows them; delete what nobody works at, and run doit again",
        )
    if reason_of(error) in KEY_TROUBLE:
        key = wish.ebs.kms_key or "alias/aws/ebs"
        return CloudFault(
            f"could not start a snapshot: EBS may not use the key {key}",
            evidence=said,
            where=where,
            hint=f"aws kms describe-key --key-id {key} must show it Enabled and symmetric; its policy, and yours, must"
            f" permit what {DOCUMENTED} lists",
        )
    return None


def complete(client: "EBSClient", snapshot: str, delta: Delta) -> None:
    """All blocks are there: EBS compares their number, and their digests. Raises Spent, CloudFault."""
    from botocore.exceptions import ClientError

    with asking("complete the snapshot", where=snapshot):
        try:
            client.complete_snapshot(
                SnapshotId=snapshot,
                ChangedBlocksCount=len(delta.writes),
                Checksum=aggregate(delta.writes),
                ChecksumAlgorithm="SHA256",
                ChecksumAggregationMethod="LINEAR",
            )
        except ClientError as error:
            if spent(error):
                raise Spent(error) from error
            raise


def completed(
    client: "EC2Client",
    snapshot: str,
    report: Report,
    *,
    limit: float = LIMIT,
    visible: float = VISIBLE,
    pause: Callable[[float], None] = time.sleep,
) -> "SnapshotTypeDef":
    """It, once images can be made of it. Raises CloudFault when it failed, is gone, or takes too long."""
    waited, looks = 0.0, 0
    while True:
        shown = by_id(client, snapshot)
        state = state_of(shown)
        if shown and state == "completed":
            return shown
        if shown and state != "pending":
            raise CloudFault(
                f"{snapshot} came to {state}: {shown.get('StateMessage') or 'EBS gives no reason'}",
                where=ec2.where(client),
                hint="put right what it says, and run doit again: it begins anew",
            )
        if not shown and waited >= visible:
            raise CloudFault(
                f"{snapshot} is gone, though EBS took all its blocks",
                where=ec2.where(client),
                hint="see who deletes snapshots there, then run doit again: it begins anew",
            )
        if waited >= limit:
            progress = shown.get("Progress", "") if shown else ""
            raise CloudFault(
                f"{snapshot} is not completed after {limit / 60:.0f} minutes ({progress or 'no progress told'})",
                where=ec2.where(client),
                hint="run doit again: it goes on waiting",
            )
        report.said(
            f"{snapshot} has all its blocks; EBS stores them {shown.get('Progress', '') if shown else ''}"
        )
        pause(step := PAUSES[min(looks, len(PAUSES) - 1)])
        waited, looks = waited + step, looks + 1


def delete(client: "EC2Client", snapshot: str) -> None:
    """One that nobody needs; none is fine too."""
    from botocore.exceptions import ClientError

    with asking(f"delete {snapshot}", where=ec2.where(client)):
        try:
            client.delete_snapshot(SnapshotId=snapshot)
        except ClientError as error:
            if code_of(error) != "InvalidSnapshot.NotFound":
                raise
