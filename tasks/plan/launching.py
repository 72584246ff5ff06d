"""What EC2 is asked for, to start instances of an image. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.kit import files
from tasks.kit.fault import ConfigFault
from tasks.plan.content import rendered
from tasks.spec import names
from tasks.spec.launch import Launch

USER_DATA = 16384  # bytes before base64: RunInstances takes no more
HOPS = 1  # of the metadata service's answers: enough for the instance itself, not for what it forwards for others


@dataclass(frozen=True)
class Wish:
    """What is to run, wholly resolved, but for how many."""

    request: Mapping[str, Any]
    digest: str

    def of(self, token: str, count: int) -> dict[str, Any]:
        return {**self.request, "ClientToken": token, "MinCount": count, "MaxCount": count}


@dataclass(frozen=True)
class Source:
    """The AMI that is started."""

    image: str
    ami: str
    root_device: str  # instance-store | ebs


def wished(
    source: Source, launch: Launch, kind: str, *, groups: Iterable[str], key_name: str, data: str
) -> Wish:
    """Equal wishes have equal digests; what is not said is not in them. `kind`: the instance type."""
    request: dict[str, Any] = {
        "ImageId": source.ami,
        "InstanceType": kind,
        "SecurityGroupIds": sorted(groups),
        "SubnetId": launch.subnet,
        "KeyName": key_name,
        "UserData": data,
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required" if launch.imds == "v2" else "optional",
            "HttpPutResponseHopLimit": HOPS,
        },
    }
    request = {key: value for key, value in request.items() if value}
    digest = files.digest({**request, "image": source.image, "tags": dict(launch.tags)})
    labels = {
        names.NAME_TAG: source.image,
        **launch.tags,
        names.IMAGE_TAG: source.image,
        names.DIGEST_TAG: digest,
    }
    tagged = ("instance", "volume") if source.root_device == "ebs" else ("instance",)
    listed = [{"Key": key, "Value": value} for key, value in sorted(labels.items())]
    request["TagSpecifications"] = [{"ResourceType": each, "Tags": listed} for each in tagged]
    return Wish(request, digest)


def user_data(path: Path, text: str, values: Mapping[str, str]) -> str:
    """The template's text. Raises ConfigFault when it does not render, or is more than EC2 takes."""
    try:
        told = rendered(str(path), text, values)
    except ConfigFault as fault:
        # It lies where the configuration says, and not in templates/.
        raise ConfigFault(fault.problem, where=fault.where.removeprefix("templates/")) from fault
    if (size := len(told.encode())) > USER_DATA:
        raise ConfigFault(
            f"the user data is {size} bytes, and EC2 takes {USER_DATA} before base64",
            where=str(path),
            hint="let it fetch what is large, from a bucket for example",
        )
    return told
