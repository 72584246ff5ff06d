"""What an instance's metadata service demands: MetadataOptions, at the launch and later."""

from typing import Any

from tasks.cloud.local.call import Answer, Asked, Call
from tasks.cloud.local.ec2 import instances
from tasks.cloud.local.ec2.service import SERVICE, combination, invalid
from tasks.cloud.local.machines.states import KIND
from tasks.cloud.local.store import Thing

HOPS = (1, 64)


def chosen(call: Call, image: Thing) -> dict[str, Any]:
    """An image that wants IMDSv2 has it, unless the launch says otherwise."""
    strict = image.get("ImdsSupport") == "v2.0"
    options = {
        "State": "applied",
        "HttpTokens": "required" if strict else "optional",
        "HttpPutResponseHopLimit": 2 if strict else 1,
        "HttpEndpoint": "enabled",
        "HttpProtocolIpv6": "disabled",
        "InstanceMetadataTags": "disabled",
    }
    asked: Asked | None = call.get("MetadataOptions")
    if asked is None:
        return options
    if endpoint := asked.get("HttpEndpoint"):
        options["HttpEndpoint"] = endpoint
    if options["HttpEndpoint"] == "disabled" and "HttpTokens" in asked:
        raise combination(
            "A HttpTokens cannot be specified while the instance metadata service is disabled: HttpEndpoint"
        )
    return options | _said(asked)


def _said(asked: Asked | Call) -> dict[str, Any]:
    keys = ("HttpTokens", "HttpPutResponseHopLimit", "InstanceMetadataTags")
    found = {key: asked.get(key) for key in keys}
    hops = found["HttpPutResponseHopLimit"]
    if hops is not None and not HOPS[0] <= hops <= HOPS[1]:
        raise invalid(
            f"Value ({hops}) for parameter HttpPutResponseHopLimit is invalid. Valid values: {HOPS[0]} to {HOPS[1]}"
        )
    return {key: value for key, value in found.items() if value is not None}


@SERVICE.operation
def modify_instance_metadata_options(call: Call) -> Answer:
    """Whether there is one at all is settled when the machine starts, and so not known here."""
    identity = call.asked["InstanceId"]
    (thing,) = instances.found(call, [identity])
    thing["MetadataOptions"] |= _said(call)
    call.things(KIND).save(identity, thing)
    call.then.append(call.store.work.set)
    return {
        "InstanceId": identity,
        "InstanceMetadataOptions": thing["MetadataOptions"] | {"State": "pending"},
    }
