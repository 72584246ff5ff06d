"""What an instance is told of itself at 169.254.169.254, as files in a folder, and the program that tells it (imdshttp.py)."""

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tasks.kit.files import write, write_json

ADDRESS = "169.254.169.254"
PROGRAM = Path(__file__).with_name("imdshttp.py")
SECRET_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """One instance. Where it has no public address, or no key, nothing is told of one."""

    instance_id: str
    ami_id: str
    instance_type: str
    architecture: str  # x86_64, i386 or arm64
    region: str
    zone: str
    account: str
    reservation_id: str
    address: str  # private, IPv4
    mac: str
    launched: str  # 2026-11-23T10:11:12Z
    launch_index: int = 0
    manifest_path: str = "(unknown)"  # as EC2 says where there is none
    public_address: str = ""
    key_name: str = ""
    public_key: str = ""
    security_groups: tuple[str, ...] = ("default",)
    block_devices: Mapping[str, str] = field(
        default_factory=lambda: {"ami": "/dev/sda1", "root": "/dev/sda1"}
    )
    kernel_id: str = ""
    ramdisk_id: str = ""
    product_codes: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)  # those that the instance may see
    user_data: bytes | None = None
    tokens: Literal["required", "optional"] = "required"
    enabled: bool = True  # or every question is answered with 403, as where it is switched off

    @property
    def hostname(self) -> str:
        """ip-172-31-0-15.ec2.internal; elsewhere than in us-east-1, .REGION.compute.internal."""
        domain = "ec2.internal" if self.region == "us-east-1" else f"{self.region}.compute.internal"
        return f"ip-{self.address.replace('.', '-')}.{domain}"

    @property
    def public_hostname(self) -> str:
        if not self.public_address:
            return ""
        domain = "compute-1" if self.region == "us-east-1" else f"{self.region}.compute"
        return f"ec2-{self.public_address.replace('.', '-')}.{domain}.amazonaws.com"


def lay(folder: Path, metadata: Metadata) -> None:
    """Write, or write again, what the instance is told. Tokens that it has stay good."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (folder / "secret").exists():
        write(folder / "secret", os.urandom(SECRET_BYTES), mode=0o600)
    if metadata.user_data is None:
        (folder / "user-data").unlink(missing_ok=True)
    else:
        write(folder / "user-data", metadata.user_data, mode=0o600)
    paths = {path: text for path, text in _paths(metadata) if text}
    told = {"enabled": metadata.enabled, "tokens": metadata.tokens, "paths": paths}
    write_json(folder / "metadata.json", told)


def command(folder: Path, python: str) -> str:
    """What a shell, or QEMU, starts for each connection."""
    return shlex.join((python, "-I", "-S", str(PROGRAM.resolve()), str(folder.resolve())))


def _paths(told: Metadata) -> Iterator[tuple[str, str]]:
    """Where each thing is told; what has no text is not told at all."""
    yield "dynamic/instance-identity/document", _document(told)
    for path, text in (*_instance(told), *_network(told)):
        yield f"meta-data/{path}", text


def _instance(told: Metadata) -> Iterator[tuple[str, str]]:
    yield "ami-id", told.ami_id
    yield "ami-launch-index", str(told.launch_index)
    yield "ami-manifest-path", told.manifest_path
    for name, device in told.block_devices.items():
        yield f"block-device-mapping/{name}", device
    yield "hostname", told.hostname
    yield "instance-action", "none"
    yield "instance-id", told.instance_id
    yield "instance-life-cycle", "on-demand"
    yield "instance-type", told.instance_type
    yield "kernel-id", told.kernel_id
    yield "local-hostname", told.hostname
    yield "local-ipv4", told.address
    yield "mac", told.mac
    yield "placement/availability-zone", told.zone
    yield "placement/region", told.region
    yield "product-codes", "\n".join(told.product_codes)
    yield "public-hostname", told.public_hostname
    yield "public-ipv4", told.public_address
    if told.public_key:
        yield "public-keys/", f"0={told.key_name}"
        yield "public-keys/0/openssh-key", f"{told.public_key.strip()}\n"
    yield "ramdisk-id", told.ramdisk_id
    yield "reservation-id", told.reservation_id
    yield "security-groups", "\n".join(told.security_groups)
    yield "services/domain", "amazonaws.com"
    yield "services/partition", "aws"
    for key, value in told.tags.items():
        yield f"tags/instance/{key}", value


def _network(told: Metadata) -> Iterator[tuple[str, str]]:
    here = f"network/interfaces/macs/{told.mac}"
    yield f"{here}/device-number", "0"
    yield f"{here}/local-hostname", told.hostname
    yield f"{here}/local-ipv4s", told.address
    yield f"{here}/mac", told.mac
    yield f"{here}/owner-id", told.account
    yield f"{here}/public-hostname", told.public_hostname
    yield f"{here}/public-ipv4s", told.public_address
    yield f"{here}/security-groups", "\n".join(told.security_groups)


def _document(told: Metadata) -> str:
    """The instance identity document, without the signature that AWS alone can give."""
    document = {
        "accountId": told.account,
        "architecture": told.architecture,
        "availabilityZone": told.zone,
        "billingProducts": None,
        "devpayProductCodes": list(told.product_codes) or None,
        "marketplaceProductCodes": None,
        "imageId": told.ami_id,
        "instanceId": told.instance_id,
        "instanceType": told.instance_type,
        "kernelId": told.kernel_id or None,
        "pendingTime": told.launched,
        "privateIp": told.address,
        "ramdiskId": told.ramdisk_id or None,
        "region": told.region,
        "version": "2017-09-30",
    }
    return json.dumps(document, indent=2)
