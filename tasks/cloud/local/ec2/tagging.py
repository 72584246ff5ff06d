"""Tags: asked for with what is made, added and removed later, listed. A thing holds its own, under "Tags".

What is ours to name begins with anything but `aws:`; the cloud itself sets those.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from tasks.cloud.local.call import Answer, Asked, Call
from tasks.cloud.local.ec2.filters import matching, plain
from tasks.cloud.local.ec2.service import SERVICE, invalid, paged
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Thing

Tag = dict[str, str]

MOST = 50  # of a thing; those of the cloud itself do not count
LONGEST_KEY = 127  # characters; the user guide has 128, the reference 127
LONGEST_VALUE = 256
MOST_RESOURCES = 1000
RESERVED = "aws:"


class Kind(NamedTuple):
    """Of things that have tags: as what the store has them, which is AWS's type of the resource; their ids; how EC2 says no."""

    kind: str
    member: str  # of a thing, with its id
    absent: str


KINDS: Mapping[str, Kind] = {  # by the beginning of an id
    "ami": Kind("image", "ImageId", "InvalidAMIID.NotFound"),
    "i": Kind("instance", "InstanceId", "InvalidInstanceID.NotFound"),
    "import": Kind("import-snapshot-task", "ImportTaskId", "InvalidConversionTaskId"),
    "key": Kind("key-pair", "KeyPairId", "InvalidKeyPair.NotFound"),
    "sg": Kind("security-group", "GroupId", "InvalidGroup.NotFound"),
    "snap": Kind("snapshot", "SnapshotId", "InvalidSnapshot.NotFound"),
    "vol": Kind("volume", "VolumeId", "InvalidVolume.NotFound"),
}


def tags_asked(call: Call, kind: str, *, others: Collection[str] = ()) -> list[Tag]:
    """What TagSpecifications say of `kind`: what is made. `others`: what is made with it, and may be spoken of as well."""
    specifications: Sequence[Asked] = call.get("TagSpecifications", ())
    kinds = [each.get("ResourceType") for each in specifications]
    for each in kinds:
        if each is None:
            raise Refusal("MissingParameter", "The tag specification must contain a resource type")
        if each not in (kind, *others):
            raise invalid(f"'{each}' is not a valid taggable resource type for this operation.")
        if kinds.count(each) > 1:
            raise invalid(
                "The same resource type may not be specified more than once in tag specifications"
            )
    found = {each.get("ResourceType"): judged(each.get("Tags", ())) for each in specifications}
    return found.get(kind, [])


def judged(tags: Iterable[Mapping[str, Any]]) -> list[Tag]:
    """As they are kept: each with a value. Raises Refusal."""
    found: dict[str, str] = {}
    for tag in tags:
        key, value = tag.get("Key") or "", tag.get("Value") or ""
        _judge(key, value)
        if key in found:
            raise invalid(f"Duplicate tag key '{key}' specified.")
        found[key] = value
    if len(found) > MOST:
        raise _too_many()
    return _listed(found)


def _judge(key: str, value: str) -> None:
    if not key:
        raise invalid("Tag key cannot be null or empty")
    if key.lower().startswith(RESERVED):
        raise invalid(f"Tag keys starting with '{RESERVED}' are reserved for internal use")
    if len(key) > LONGEST_KEY:
        raise invalid(f"Tag key exceeds the maximum length of {LONGEST_KEY} characters")
    if len(value) > LONGEST_VALUE:
        raise invalid(f"Tag value exceeds the maximum length of {LONGEST_VALUE} characters")


def _too_many() -> Refusal:
    return Refusal("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")


def _listed(tags: Mapping[str, str]) -> list[Tag]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def held(thing: Thing) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in thing.get("Tags", ())}


def without_none(thing: Mapping[str, Any]) -> Thing:
    """As EC2 tells of things: no tags, no Tags."""
    return {key: value for key, value in thing.items() if key != "Tags" or value}


@SERVICE.operation
def create_tags(call: Call) -> Answer:
    """All or none: each resource is looked for before one is changed."""
    asked = {tag["Key"]: tag["Value"] for tag in judged(call.get("Tags", ()))}
    if not asked:
        raise Refusal("MissingParameter", "The request must contain the parameter tagSet")
    for kind, identity, thing in _resources(call):
        tags = held(thing) | asked
        if sum(not key.startswith(RESERVED) for key in tags) > MOST:
            raise _too_many()
        call.things(kind).save(identity, thing | {"Tags": _listed(tags)})
    return {}


@SERVICE.operation
def delete_tags(call: Call) -> Answer:
    """With a value, only where that is the value; without any tags, all that are not the cloud's own."""
    asked = [(tag.get("Key") or "", tag.get("Value")) for tag in call.get("Tags", ())]
    for key, value in asked:
        _judge(key, value or "")
    for kind, identity, thing in _resources(call):
        left = {key: value for key, value in held(thing).items() if _stays(key, value, asked)}
        call.things(kind).save(identity, thing | {"Tags": _listed(left)})
    return {}


def _stays(key: str, value: str, asked: Sequence[tuple[str, str | None]]) -> bool:
    if not asked:
        return key.startswith(RESERVED)
    return not any(key == name and wanted in (None, value) for name, wanted in asked)


def _resources(call: Call) -> list[tuple[str, str, Thing]]:
    """Kind, id and thing of each."""
    identities = call.get("Resources", ())
    if len(identities) > MOST_RESOURCES:
        raise invalid(f"A request may name up to {MOST_RESOURCES} resources")
    found = []
    for identity in dict.fromkeys(identities):
        prefix = identity.partition("-")[0]
        if prefix not in KINDS:
            raise Refusal("InvalidID", f"The ID '{identity}' is not valid")
        kind, _, absent = KINDS[prefix]
        thing = call.things(kind).get(identity)
        if thing is None:
            raise Refusal(absent, f"The {kind} ID '{identity}' does not exist")
        found.append((kind, identity, thing))
    return found


@SERVICE.operation
def describe_tags(call: Call) -> Answer:
    found = chain.from_iterable(_rows(call, each) for each in KINDS.values())
    rows = matching(call, found, plain("key", "value", "resource-id", "resource-type"))
    return paged(call, [{key: row[key] for key in row if key != "Tags"} for row in rows], "Tags")


def _rows(call: Call, each: Kind) -> Iterator[Thing]:
    """One for each tag; `Tags` is for the filters tag:KEY."""
    for thing in call.things(each.kind).listed():
        for tag in thing.get("Tags", ()):
            yield {
                **tag,
                "ResourceId": thing[each.member],
                "ResourceType": each.kind,
                "Tags": [tag],
            }
