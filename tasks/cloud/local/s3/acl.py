"""Access control lists: the canned ones, by name. Buckets are private, always."""

from typing import Any

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.s3.service import SERVICE, Bucket, denied, held, owned, user

EC2 = "6aa5a366c34c1cbe25dc49211496e913e0351eb0e8c37aa3477e40942ec6b97c"  # za-team, who reads bundles
GROUPS = "http://acs.amazonaws.com/groups/global/"
EVERYBODY, ANY_ACCOUNT = f"{GROUPS}AllUsers", f"{GROUPS}AuthenticatedUsers"
OURS = "bucket-owner-full-control"
# To whom, beside the owner, and what
GRANTS: dict[str, tuple[tuple[str, str], ...]] = {
    "private": (),
    OURS: (),
    "bucket-owner-read": (),  # the owner of the bucket is the owner of the object
    "public-read": ((EVERYBODY, "READ"),),
    "public-read-write": ((EVERYBODY, "READ"), (EVERYBODY, "WRITE")),
    "authenticated-read": ((ANY_ACCOUNT, "READ"),),
    "aws-exec-read": ((EC2, "READ"),),
}


def public(name: str) -> bool:
    return any(grantee.startswith(GROUPS) for grantee, _ in GRANTS[name])


def asked(call: Call, bucket: Bucket) -> str:
    """The ACL that the call has for an object."""
    name: str = call.get("ACL", "")
    if name and name != OURS and bucket.enforced:
        raise Refusal("AccessControlListNotSupported", "The bucket does not allow ACLs")
    if name and public(name) and bucket.blocks("BlockPublicAcls"):
        raise denied()
    return name or "private"


def _granted(bucket: Bucket, about: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """What counts, as the bucket stands now."""
    name = about["acl"]
    if bucket.enforced or (public(name) and bucket.blocks("IgnorePublicAcls")):
        return ()
    return GRANTS[name]


def readable(bucket: Bucket, about: dict[str, Any]) -> bool:
    """By any account."""
    return any(
        what == "READ" and who in (EVERYBODY, ANY_ACCOUNT) for who, what in _granted(bucket, about)
    )


def readable_by_ec2(bucket: Bucket, about: dict[str, Any]) -> bool:
    return (EC2, "READ") in _granted(bucket, about) or readable(bucket, about)


def answer(bucket: Bucket, name: str) -> Answer:
    owner = {"ID": user(bucket.account)}
    grants: list[dict[str, Any]] = [
        {"Grantee": {"Type": "CanonicalUser", **owner}, "Permission": "FULL_CONTROL"}
    ]
    for who, what in GRANTS[name]:
        grantee = (
            {"Type": "Group", "URI": who}
            if who.startswith(GROUPS)
            else {"Type": "CanonicalUser", "ID": who}
        )
        grants.append({"Grantee": grantee, "Permission": what})
    return {"Owner": owner, "Grants": grants}


@SERVICE.operation
def get_bucket_acl(call: Call) -> Answer:
    return answer(owned(call), "private")


@SERVICE.operation
def get_object_acl(call: Call) -> Answer:
    bucket = owned(call)
    found = held(call, bucket)
    return answer(bucket, "private" if bucket.enforced else found.about["acl"])
