"""EC2 as the stages need it: images that are ours, found by tag and by name, registered, and waited for."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tasks.cloud.refusals import DENIED, asking, code_of
from tasks.kit.fault import CloudFault
from tasks.spec import names

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef, ImageTypeDef, RegisterImageRequestTypeDef

LIMIT = 600.0  # seconds from registration to available: S3-backed images take one or two minutes
VISIBLE = 60.0  # seconds until what was registered shows in lists: they lag behind the deed
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # seconds between two looks
PAGE = 200
FAILED = {"failed", "invalid", "error"}


def images(ec2: "EC2Client", *filters: "FilterTypeDef") -> list["ImageTypeDef"]:
    """Our account's images that pass all filters, the disabled ones too: their names are taken."""
    pages = ec2.get_paginator("describe_images")
    with asking("list the images", where=where(ec2)):
        return [
            image
            for page in pages.paginate(
                Owners=["self"],
                Filters=list(filters),
                IncludeDisabled=True,
                PaginationConfig={"PageSize": PAGE},
            )
            for image in page["Images"]
        ]


def with_digest(ec2: "EC2Client", digest: str) -> list["ImageTypeDef"]:
    return images(ec2, {"Name": f"tag:{names.DIGEST_TAG}", "Values": [digest]})


def with_name(ec2: "EC2Client", name: str) -> list["ImageTypeDef"]:
    return images(ec2, {"Name": "name", "Values": [name]})


def ours(ec2: "EC2Client") -> list["ImageTypeDef"]:
    return images(ec2, {"Name": "tag-key", "Values": [names.IMAGE_TAG]})


def where(ec2: "EC2Client") -> str:
    return f"EC2 in {ec2.meta.region_name}"


def register(ec2: "EC2Client", wish: "RegisterImageRequestTypeDef") -> str | None:
    """The new image's id; None when the name is taken, or the answer was lost on its way: it may have been done."""
    from botocore.exceptions import ClientError, HTTPClientError

    with asking("register the image", where=where(ec2)):
        try:
            return ec2.register_image(**wish)["ImageId"]
        except HTTPClientError:
            return None
        except ClientError as error:
            if code_of(error) == "InvalidAMIName.Duplicate":
                return None
            if code_of(error) == "AuthFailure" and "HTTP" in str(
                error
            ):  # EC2's own way to say that S3 refused it
                raise CloudFault(
                    "EC2 may not read the bundle",
                    evidence=(" ".join(str(error).split()),),
                    where=wish.get("ImageLocation", ""),
                    hint="its objects need the ACL aws-exec-read: delete them and the upload's receipt, and run doit again",
                ) from error
            raise


def by_id(ec2: "EC2Client", image: str) -> "ImageTypeDef | None":
    """None as long as lists do not show it yet."""
    from botocore.exceptions import ClientError

    with asking("look at the image", where=f"{image}, {where(ec2)}"):
        try:
            found = ec2.describe_images(ImageIds=[image], IncludeDisabled=True)["Images"]
        except ClientError as error:
            if code_of(error) in {"InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"}:
                return None
            raise
    return found[0] if found else None


def available(
    ec2: "EC2Client", image: str, *, limit: float = LIMIT, pause: Callable[[float], None] = time.sleep
) -> "ImageTypeDef":
    """The image, once it can be launched. Raises CloudFault when it failed, or is not there in time."""
    waited, looks = 0.0, 0
    while True:
        found = by_id(ec2, image)
        state = found.get("State", "pending") if found else "not shown yet"
        if found and state == "available":
            return found
        if found and state in FAILED:
            raise CloudFault(
                f"{image} {state}: {found.get('StateReason', {}).get('Message', 'AWS gives no reason')}",
                where=where(ec2),
                hint=f"aws ec2 deregister-image --image-id {image}, put right what it says, and run doit again",
            )
        if found and state in {"disabled", "deregistered"}:
            raise CloudFault(
                f"{image} is {state}", where=where(ec2), hint=f"aws ec2 enable-image --image-id {image}"
            )
        if waited >= limit:
            raise CloudFault(
                f"{image} is {state} after {limit:.0f} s",
                where=where(ec2),
                hint="run doit again: it goes on waiting",
            )
        pause(step := PAUSES[min(looks, len(PAUSES) - 1)])
        waited, looks = waited + step, looks + 1


def variables(ec2: "EC2Client", image: str) -> str | None:
    """The UEFI variables that an image was given, in base64; None when we may not see them."""
    from botocore.exceptions import ClientError

    with asking("look at the image's UEFI variables", where=f"{image}, {where(ec2)}"):
        try:
            found = ec2.describe_image_attribute(ImageId=image, Attribute="uefiData")
        except ClientError as error:
            if code_of(error) in DENIED:
                return None
            raise
    return "".join(found.get("UefiData", {}).get("Value", "").split())
