"""Parameters put and deleted. A thing of the kind `parameter` holds its versions, the newest last, and its tags."""

from typing import Any

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.ec2 import images
from tasks.cloud.local.refusal import Refusal, unknown
from tasks.cloud.local.ssm import rules
from tasks.cloud.local.ssm.service import SERVICE, invalid
from tasks.cloud.local.store import Thing

KIND = "parameter"
VERSIONS = 100  # that are kept of a parameter
STANDARD, TEXT, IMAGE = "Standard", "text", "aws:ec2:image"


@SERVICE.operation
def put_parameter(call: Call) -> Answer:
    name = rules.name(call.asked["Name"])
    overwrite, tags = call.get("Overwrite", False), rules.tags(call.get("Tags", ()))
    held = call.things(KIND).get(name)
    if overwrite and tags:
        raise invalid(
            "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please "
            "remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or "
            "RemoveTagsFromResource."
        )
    version = _version(call, name, held["Versions"][-1] if held else None)
    if held and not overwrite:
        raise Refusal(
            "ParameterAlreadyExists",
            "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
        )
    if held:
        call.things(KIND).save(name, held | {"Versions": [*held["Versions"], version][-VERSIONS:]})
    else:
        call.things(KIND).add(name, {"Name": name, "Tags": tags, "Versions": [version]})
    return {"Version": version["Version"], "Tier": STANDARD}


def _version(call: Call, name: str, before: Thing | None) -> dict[str, Any]:
    """What is not said stays as it was."""
    known = before or {"Version": 0, "DataType": TEXT, "Description": None, "AllowedPattern": None}
    if call.get("Tier", STANDARD) != STANDARD:
        raise unknown(f"the tier {call.asked['Tier']}", "ssm")
    pattern, description = call.get("AllowedPattern"), call.get("Description")
    version = {
        "Name": name,
        "Type": _type(call, before),
        "Version": known["Version"] + 1,
        "LastModifiedDate": call.now,
        "LastModifiedUser": f"arn:aws:iam::{call.account}:root",
        "Description": rules.short(description or known["Description"] or "", "description") or None,
        "AllowedPattern": pattern or known["AllowedPattern"],
        "Tier": STANDARD,
        "DataType": call.get("DataType", known["DataType"]),
    }
    version["Value"] = rules.value(call.asked["Value"], version["AllowedPattern"])
    _of_type(call, version)
    return version


def _type(call: Call, before: Thing | None) -> str:
    kind: str | None = call.get("Type", before["Type"] if before else None)
    if kind is None:
        raise invalid("A parameter type is required when you create a parameter.")
    if kind == "SecureString":
        raise unknown("the type SecureString: it has no KMS", "ssm")
    if before and kind != before["Type"]:
        raise Refusal(
            "HierarchyTypeMismatchException",
            f"The parameter is a {before['Type']}; a type cannot be changed. Create a new, unique parameter.",
        )
    return kind


def _of_type(call: Call, version: Thing) -> None:
    """AWS looks whether the image is there after it has answered, and keeps the old version if not; here that is refused at once."""
    if version["DataType"] not in (TEXT, IMAGE):
        raise invalid(
            f"The following data type is not supported: {version['DataType']} (Data type names are all lowercase.)"
        )
    if version["DataType"] == TEXT:
        return
    if version["Type"] != "String":
        raise invalid(f"The data type {IMAGE} is for parameters of the type String.")
    try:
        images.usable(call.store, call.account, call.region, version["Value"])
    except Refusal as refusal:
        raise invalid(
            f"The parameter value is not an AMI that is available: {refusal.message}"
        ) from None


@SERVICE.operation
def delete_parameter(call: Call) -> Answer:
    name = call.asked["Name"].strip()
    if call.things(KIND).get(name) is None:
        raise absent(name)
    call.things(KIND).drop(name)
    return {}


@SERVICE.operation
def delete_parameters(call: Call) -> Answer:
    names = list(dict.fromkeys(call.asked["Names"]))
    found = [name for name in names if call.things(KIND).get(name.strip())]
    for name in found:
        call.things(KIND).drop(name.strip())
    return {
        "DeletedParameters": found,
        "InvalidParameters": [name for name in names if name not in found],
    }


def absent(name: str) -> Refusal:
    return Refusal("ParameterNotFound", f"Parameter {name} not found.")


@SERVICE.operation
def add_tags_to_resource(call: Call) -> Answer:
    name, held = _tagged(call)
    held["Tags"] = rules.few(held["Tags"] | rules.tags(call.asked["Tags"]))
    call.things(KIND).save(name, held)
    return {}


@SERVICE.operation
def remove_tags_from_resource(call: Call) -> Answer:
    name, held = _tagged(call)
    gone = call.asked["TagKeys"]
    held["Tags"] = {key: value for key, value in held["Tags"].items() if key not in gone}
    call.things(KIND).save(name, held)
    return {}


@SERVICE.operation
def list_tags_for_resource(call: Call) -> Answer:
    tags = _tagged(call)[1]["Tags"]
    return {"TagList": [{"Key": key, "Value": value} for key, value in tags.items()]}


def _tagged(call: Call) -> tuple[str, Thing]:
    if call.asked["ResourceType"] != "Parameter":
        raise unknown(f"tags of a {call.asked['ResourceType']}", "ssm")
    name = call.asked["ResourceId"]
    held = call.things(KIND).get(name)
    if held is None:
        raise Refusal("InvalidResourceId", f"There is no parameter {name}.")
    return name, held
