"""An image's SSH key in EC2: imported once, by a name that says which key it is, and never taken on trust."""

from typing import TYPE_CHECKING

from tasks.cloud import tags
from tasks.cloud.refusals import asking, code_of
from tasks.kit.fault import CloudFault
from tasks.plan import keypair
from tasks.spec import names

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client


def checked(ec2: "EC2Client", image: str, line: str) -> tuple[str, bool]:
    """(name, whether it is there). Raises CloudFault when another key has the name."""
    from botocore.exceptions import ClientError

    name = names.key_pair(image, keypair.digest(line))
    with asking("look at the key pair", where=_where(ec2, name)):
        try:
            found = ec2.describe_key_pairs(KeyNames=[name])["KeyPairs"]
        except ClientError as error:
            if code_of(error) != "InvalidKeyPair.NotFound":
                raise
            found = []
    if not found:
        return name, False
    held, ours = found[0].get("KeyFingerprint", ""), keypair.fingerprint(line)
    if not keypair.same(held, ours):
        raise CloudFault(
            f"the key pair {name} holds a key that does not match: its fingerprint is {held}, ours is {ours}",
            where=_where(ec2, name),
            hint=f"find out who put it there, then: aws ec2 delete-key-pair --key-name {name}",
        )
    return name, True


def imported(ec2: "EC2Client", image: str, line: str) -> str:
    """The name of the key pair that holds the public key of `line`, imported if need be."""
    from botocore.exceptions import ClientError

    name, there = checked(ec2, image, line)
    if there:
        return name
    with asking("import the SSH key", where=_where(ec2, name)):
        try:
            ec2.import_key_pair(
                KeyName=name,
                PublicKeyMaterial=line.strip().encode(),
                TagSpecifications=[
                    {"ResourceType": "key-pair", "Tags": tags.listed({names.IMAGE_TAG: image})}
                ],
            )
        except ClientError as error:
            if code_of(error) != "InvalidKeyPair.Duplicate":  # another run was quicker
                raise
    return checked(ec2, image, line)[0]


def _where(ec2: "EC2Client", name: str) -> str:
    return f"{name}, EC2 in {ec2.meta.region_name}"
