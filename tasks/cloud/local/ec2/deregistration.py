"""DeregisterImage: the image is gone for good, and on demand what it was made of, unless another image is made of it too."""

from typing import Any

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.ebs.snapshots import KIND
from tasks.cloud.local.ec2.images import GONE, IMAGE, backing, own
from tasks.cloud.local.ec2.service import SERVICE
from tasks.cloud.local.ec2.snapshots import remove
from tasks.cloud.local.store import every


@SERVICE.operation
def deregister_image(call: Call) -> Answer:
    image = own(call, call.asked["ImageId"])
    call.things(IMAGE).drop(image["ImageId"])
    call.things(GONE).add(image["ImageId"], {})
    answer: dict[str, Any] = {"Return": True}
    if call.get("DeleteAssociatedSnapshots", False):
        answer["DeleteSnapshotResults"] = [
            {"SnapshotId": each, "ReturnCode": _let_go(call, each)}
            for each in dict.fromkeys(backing(image))
        ]
    return answer


def _let_go(call: Call, identity: str) -> str:
    """A snapshot, unless another image is made of it too."""
    if call.things(KIND).get(identity) is None:
        return "client-error"
    if any(identity in backing(image) for _, _, image in every(call.store, IMAGE)):
        return "skipped"
    remove(call, identity)
    return "success"
