"""Whether an instance type can run an image, in EC2's words when it cannot; and whether there is room for it. Sizes are bytes."""

from pathlib import Path

from tasks.cloud.local.call import Call
from tasks.cloud.local.ec2.service import combination, invalid
from tasks.cloud.local.machines.states import KIND, name_of
from tasks.cloud.local.refusal import Refusal, unknown
from tasks.cloud.local.store import Thing, every
from tasks.spec.units import UNITS

MEMINFO = Path("/proc/meminfo")
USING = ("pending", "running", "stopping")  # they have processors, and memory


def fit(image: Thing, kind: Thing) -> None:
    """`kind`: the type, as DescribeInstanceTypes has it. Raises Refusal."""
    name, architectures = kind["InstanceType"], kind["ProcessorInfo"]["SupportedArchitectures"]
    if image["Architecture"] not in architectures:
        raise invalid(
            f"The architecture '{','.join(architectures)}' of the specified instance type does not match the architecture"
            f" '{image['Architecture']}' of the specified AMI. Specify an instance type and an AMI that have matching"
            " architectures, and try again. You can use 'describe-instance-types' or 'describe-images' to discover the"
            " architecture of the instance type or AMI."
        )
    if image["VirtualizationType"] not in kind["SupportedVirtualizationTypes"]:
        raise combination(
            f"Non-Windows instances with a virtualization type of '{image['VirtualizationType']}' are currently not"
            " supported for this instance type."
        )
    if image["RootDeviceType"] not in kind["SupportedRootDeviceTypes"]:
        raise combination(
            f"The instance type '{name}' does not support an AMI with a root device type of '{image['RootDeviceType']}'."
        )
    if kind["NetworkInfo"]["EnaSupport"] == "required" and not image.get("EnaSupport"):
        raise combination(
            f"Enhanced networking with the Elastic Network Adapter (ENA) is required for the '{name}' instance type."
            " Ensure that you are using an AMI that is enabled for ENA."
        )


def boot_mode(image: Thing, kind: Thing) -> str:
    """The firmware that its machine has. Raises Refusal when the type has not what the image needs."""
    mode, able = image.get("BootMode"), kind["SupportedBootModes"]
    if mode in ("uefi", "legacy-bios") and mode not in able:
        raise combination(
            f"The instance type '{kind['InstanceType']}' does not support the boot mode '{mode}' of the specified AMI."
        )
    if mode == "uefi-preferred":
        mode = "uefi" if "uefi" in able else "legacy-bios"
    # Without a word of the image's, each processor's own way: UEFI on Graviton, a BIOS on all others.
    return str(mode or ("legacy-bios" if "legacy-bios" in able else "uefi"))


def bootable(image: Thing) -> None:
    """What EC2 might boot, and the local cloud cannot."""
    if image["VirtualizationType"] == "paravirtual" and image["RootDeviceType"] == "ebs":
        raise unknown("paravirtual images on EBS: register it with VirtualizationType hvm", "ec2")


def room(call: Call, kind: Thing, least: int, most: int, zone: str) -> int:
    """How many there will be. Raises Refusal when not even the least fit."""
    name, cores, memory = kind["InstanceType"], kind["VCpuInfo"]["DefaultVCpus"], memory_of(kind)
    return min(most, afford(call, name, cores, memory, zone, least))


def afford(call: Call, name: str, cores: int, memory: int, zone: str, least: int = 1) -> int:
    """How many of a type this account may have, and this machine can. Raises Refusal when they are less than the least."""
    limit = int(call.store.setting("vcpus"))
    used = sum(each["local"]["cores"] for each in call.things(KIND).all() if name_of(each) in USING)
    allowed = (limit - used) // cores
    if allowed < least:
        raise Refusal(
            "VcpuLimitExceeded",
            f"You have requested more vCPU capacity than your current vCPU limit of {limit} allows for the instance bucket"
            " that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to"
            " request an adjustment to this limit.",
        )
    possible, why = _capacity(call, memory)
    if possible < least:
        raise Refusal(
            "InsufficientInstanceCapacity",
            f"We currently do not have sufficient {name} capacity in the Availability Zone you requested ({zone}): {why}.",
            500,
        )
    return int(min(allowed, possible))


def memory_of(kind: Thing) -> int:
    size: int = kind["MemoryInfo"]["SizeInMiB"] * UNITS["MiB"]
    return size


def _capacity(call: Call, memory: int) -> tuple[int, str]:
    """How many this machine can run, and why not more."""
    there = [each for _, _, each in every(call.store, KIND) if name_of(each) in USING]
    machines = int(call.store.setting("machines"))
    if len(there) >= machines:
        return 0, f"the local cloud is set to run no more than {machines} machines at once"
    free = max(
        0, _available() - sum(each["local"]["memory"] for each in there if name_of(each) == "pending")
    )
    why = f"an instance takes {memory >> 20} MiB of memory, and this machine has {free >> 20} MiB free"
    return min(machines - len(there), free // memory), why


def _available() -> int:
    """Of this machine's memory."""
    fields = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) << 10
