"""Roles, and the policies that lie in them. A thing of the kind `role` holds its trust policy and its inline ones, as text.

Managed policies do not exist here, so none is ever attached.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.iam import policies
from tasks.cloud.local.iam.service import SERVICE, absent, paged
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Store, Thing, Things

KIND = "role"
NOWHERE = ""  # IAM's region
NAME = re.compile(r"[\w+=,.@-]+", re.ASCII)
LARGEST_TRUST = (
    2048  # characters that are no white space (docs.aws.amazon.com, "IAM and AWS STS quotas")
)
LARGEST_POLICIES = 10240  # the same, of all inline policies of a role
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def role(store: Store, account: str, name: str) -> Thing | None:
    """As other services find it."""
    return store.things(KIND, account, NOWHERE).get(name)


def trusts(thing: Thing, service: str, context: Mapping[str, str]) -> bool:
    return policies.trusts(policies.trust(thing["Trust"]), service, context)


def allows(thing: Thing, action: str, resource: str) -> bool:
    """By all of its policies together."""
    found = [each for text in thing["Policies"].values() for each in policies.permissions(text)]
    return policies.allows(found, action, resource)


def _roles(call: Call) -> Things:
    return call.store.things(KIND, call.account, NOWHERE)


@SERVICE.operation
def create_role(call: Call) -> Answer:
    name, path, text = (
        call.asked["RoleName"],
        call.get("Path", "/"),
        call.asked["AssumeRolePolicyDocument"],
    )
    _named_well(name, "roleName")
    if not re.fullmatch(r"/([!-~]+/)?", path):
        raise Refusal("ValidationError", "The specified value for path is invalid.")
    _judge_trust(text)
    if _roles(call).get(name):
        raise Refusal("EntityAlreadyExists", f"Role with name {name} already exists.", 409)
    thing = {
        "RoleName": name,
        "Path": path,
        "RoleId": "AROA" + "".join(secrets.choice(ALPHABET) for _ in range(17)),
        "Arn": f"arn:aws:iam::{call.account}:role{path}{name}",
        "CreateDate": call.now,
        "Description": call.get("Description"),
        "Trust": text,
        "Policies": {},
    }
    _roles(call).add(name, thing)
    return {"Role": _shown(thing)}


@SERVICE.operation
def update_assume_role_policy(call: Call) -> Answer:
    thing, text = _meant(call), call.asked["PolicyDocument"]
    _judge_trust(text)
    _roles(call).save(thing["RoleName"], thing | {"Trust": text})
    return {}


def _judge_trust(text: str) -> None:
    policies.trust(text)
    if _size(text) > LARGEST_TRUST:
        raise Refusal("LimitExceeded", f"Cannot exceed quota for ACLSizePerRole: {LARGEST_TRUST}", 409)


@SERVICE.operation
def get_role(call: Call) -> Answer:
    return {"Role": _shown(_meant(call))}


def _shown(thing: Thing) -> dict[str, Any]:
    """Policies travel as RFC 3986 has it."""
    told = {name: thing[name] for name in thing if name not in ("Trust", "Policies")}
    return {**told, "AssumeRolePolicyDocument": quote(thing["Trust"], safe="")}


@SERVICE.operation
def delete_role(call: Call) -> Answer:
    thing = _meant(call)
    if thing["Policies"]:
        raise Refusal("DeleteConflict", "Cannot delete entity, must delete policies first.", 409)
    _roles(call).drop(thing["RoleName"])
    return {}


@SERVICE.operation
def put_role_policy(call: Call) -> Answer:
    thing, name, text = _meant(call), call.asked["PolicyName"], call.asked["PolicyDocument"]
    _named_well(name, "policyName")
    policies.permissions(text)
    held = thing["Policies"] | {name: text}
    if sum(map(_size, held.values())) > LARGEST_POLICIES:
        raise Refusal(
            "LimitExceeded", f"Maximum policy size of {LARGEST_POLICIES} bytes exceeded for role", 409
        )
    _roles(call).save(thing["RoleName"], thing | {"Policies": held})
    return {}


@SERVICE.operation
def get_role_policy(call: Call) -> Answer:
    thing, name = _meant(call), call.asked["PolicyName"]
    text = quote(_policy(thing, name), safe="")
    return {"RoleName": thing["RoleName"], "PolicyName": name, "PolicyDocument": text}


@SERVICE.operation
def delete_role_policy(call: Call) -> Answer:
    thing, name = _meant(call), call.asked["PolicyName"]
    _policy(thing, name)
    left = {key: text for key, text in thing["Policies"].items() if key != name}
    _roles(call).save(thing["RoleName"], thing | {"Policies": left})
    return {}


@SERVICE.operation
def list_role_policies(call: Call) -> Answer:
    return paged(call, sorted(_meant(call)["Policies"]), "PolicyNames")


@SERVICE.operation
def list_attached_role_policies(call: Call) -> Answer:
    _meant(call)
    return paged(call, (), "AttachedPolicies")


def _meant(call: Call) -> Thing:
    name = call.asked["RoleName"]
    _named_well(name, "roleName")
    found = _roles(call).get(name)
    if found is None:
        raise absent(f"The role with name {name} cannot be found.")
    return found


def _policy(thing: Thing, name: str) -> str:
    if name not in thing["Policies"]:
        raise absent(f"The role policy with name {name} cannot be found.")
    text: str = thing["Policies"][name]
    return text


def _named_well(name: str, parameter: str) -> None:
    if not NAME.fullmatch(name):
        raise Refusal(
            "ValidationError",
            f"The specified value for {parameter} is invalid. It must contain only alphanumeric characters and/or the"
            " following: +=,.@_-",
        )


def _size(text: str) -> int:
    return len("".join(text.split()))
