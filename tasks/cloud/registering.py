"""Images registered once: a run that is killed, or loses EC2's answer, and runs again ends with the one that was wanted."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.cloud import described, ec2, tags
from tasks.kit.fault import CloudFault
from tasks.spec import names

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import ImageTypeDef, RegisterImageRequestTypeDef


@dataclass(frozen=True)
class Wish:
    """The image as it should be registered, wholly resolved."""

    name: str
    digest: str
    request: "RegisterImageRequestTypeDef"
    encrypted: bool = False  # the snapshot, and so the volume


def obtained(
    client: "EC2Client", wish: Wish, *, pause: Callable[[float], None] = time.sleep
) -> "ImageTypeDef":
    """The one image of this content: found, or registered now."""
    image = standing(client, wish) or ec2.register(client, wish.request) or emerging(client, wish, pause)
    found = ec2.available(client, image, pause=pause)
    if differences := described.differences(found, wish.request, encrypted=wish.encrypted):
        raise CloudFault(
            f"{image} is not as it was asked for",
            evidence=differences,
            where=ec2.where(client),
            hint=f"aws ec2 deregister-image --image-id {image}, and run doit again",
        )
    return found


def standing(client: "EC2Client", wish: Wish) -> str | None:
    """The id of our image, if it is registered. Raises CloudFault when there are several, or its name is another's."""
    mine = ec2.with_digest(client, wish.digest)
    if len(mine) > 1:
        ids = ", ".join(sorted(image["ImageId"] for image in mine))
        raise CloudFault(
            f"{len(mine)} images hold this very content, and one was expected: {ids}",
            where=ec2.where(client),
            hint="keep one and deregister the rest: aws ec2 deregister-image --image-id ...",
        )
    if mine:
        return mine[0]["ImageId"]
    if others := ec2.with_name(client, wish.name):
        other = others[0]
        holder = tags.mapped(other.get("Tags", ())).get(names.IMAGE_TAG, "an image that is not ours")
        raise CloudFault(
            f"the name {wish.name} is taken by {other['ImageId']}, which is of other content ({holder})",
            where=ec2.where(client),
            hint="write {digest} into `ami.name:`, or deregister that image",
        )
    return None


def emerging(client: "EC2Client", wish: Wish, pause: Callable[[float], None]) -> str:
    """Our image, after EC2 said that its name is taken or said nothing: the deed was done, lists lag behind it."""
    waited = 0.0
    while waited <= ec2.VISIBLE:
        if image := standing(client, wish):
            return image
        pause(step := ec2.PAUSES[2])
        waited += step
    raise CloudFault(
        f"whether {wish.name} was registered is not known: EC2's answer was lost, and no image of ours shows",
        where=ec2.where(client),
        hint="run doit again: it looks first",
    )


def holds(client: "EC2Client", image: str, variables: str) -> bool:
    """Whether an image was seen to hold these UEFI variables: DescribeImages does not show them, and we may not be allowed
    to ask. Raises CloudFault when it holds others.
    """
    held = ec2.variables(client, image)
    if held not in (None, variables):
        raise CloudFault(
            f"{image} is not as it was asked for",
            evidence=(f"UefiData: it holds {'others' if held else 'none'}",),
            where=ec2.where(client),
            hint=f"aws ec2 deregister-image --image-id {image}, and run doit again",
        )
    return held is not None
