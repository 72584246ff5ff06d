"""Instance types: two dozen of what EC2 has, from 2006 to today, with the truth about what each can run.

Sources: the tables of "Amazon EC2 instance types" and of its previous generations, and what DescribeInstanceTypes says there.
"""

from dataclasses import dataclass
from typing import Any, Literal

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.ec2.filters import Table, at, matching, plain
from tasks.cloud.local.ec2.regions import zones
from tasks.cloud.local.ec2.service import SERVICE, invalid, paged
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Thing

MOST = 100  # of a page


@dataclass(frozen=True)
class Family:
    """What those of one letter and number have in common."""

    architectures: tuple[str, ...]
    hypervisor: Literal["xen", "nitro"] = "xen"
    virtualization: tuple[str, ...] = ("hvm", "paravirtual")
    current: bool = False
    boots: tuple[str, ...] = ("legacy-bios",)
    disk: str = ""  # kind of its own disks
    burstable: bool = False
    clock: float | None = None  # GHz
    threads: int = 1  # of a core
    tpm: bool = False
    encrypts: bool = True  # volumes
    optimized: str = "unsupported"  # for EBS

    @property
    def nitro(self) -> bool:
        return self.hypervisor == "nitro"


def _nitro(*architectures: str, clock: float, threads: int, burstable: bool = False) -> Family:
    arm = architectures == ("arm64",)
    boots = ("uefi",) if arm else ("legacy-bios", "uefi")
    return Family(
        architectures, "nitro", ("hvm",), current=True, boots=boots, burstable=burstable, clock=clock,
        threads=threads, tpm=not arm, optimized="default",
    )  # fmt: skip


BOTH, WIDE, ARM = ("i386", "x86_64"), ("x86_64",), ("arm64",)
FAMILIES = {
    "t1": Family(BOTH, encrypts=False),
    "m1": Family(BOTH, disk="hdd", encrypts=False),
    "m1-wide": Family(WIDE, disk="hdd", encrypts=False, optimized="supported"),
    "m2": Family(WIDE, disk="hdd", encrypts=False),
    "m3": Family(WIDE, disk="ssd", clock=2.5),
    "c1": Family(BOTH, disk="hdd", encrypts=False),
    "c3": Family(BOTH, disk="ssd", clock=2.8, threads=2),
    "r3": Family(WIDE, virtualization=("hvm",), disk="ssd", clock=2.5, threads=2),
    "t2": Family(BOTH, virtualization=("hvm",), current=True, burstable=True, clock=2.5),
    "t3": _nitro(*WIDE, clock=2.5, threads=2, burstable=True),
    "m5": _nitro(*WIDE, clock=3.1, threads=2),
    "m6i": _nitro(*WIDE, clock=3.5, threads=2),
    "c5": _nitro(*WIDE, clock=3.4, threads=2),
    "t4g": _nitro(*ARM, clock=2.5, threads=1, burstable=True),
    "m6g": _nitro(*ARM, clock=2.5, threads=1),
}


@dataclass(frozen=True)
class Size:
    """`disks`: how many of its own, and of how many GB. `interfaces`: and addresses of each."""

    vcpus: int
    mib: int
    network: str
    interfaces: tuple[int, int]
    disks: tuple[int, int] = (0, 0)
    family: str = ""  # where the name does not say it
    free: bool = False


FIVE, TEN, TWELVE = "Up to 5 Gigabit", "Up to 10 Gigabit", "Up to 12.5 Gigabit"
LOW, MODERATE = "Low to Moderate", "Moderate"
TYPES = {
    "t1.micro": Size(1, 627, "Very Low", (2, 2)),
    "m1.small": Size(1, 1740, "Low", (2, 4), (1, 160)),
    "m1.medium": Size(1, 3788, MODERATE, (2, 6), (1, 410)),
    "m1.large": Size(2, 7680, MODERATE, (3, 10), (2, 420), family="m1-wide"),
    "m2.xlarge": Size(2, 17510, MODERATE, (4, 15), (1, 420)),
    "m3.medium": Size(1, 3840, MODERATE, (2, 6), (1, 4)),
    "m3.large": Size(2, 7680, MODERATE, (3, 10), (1, 32)),
    "c1.medium": Size(2, 1740, MODERATE, (2, 6), (1, 350)),
    "c3.large": Size(2, 3840, MODERATE, (3, 10), (2, 16)),
    "r3.large": Size(2, 15616, MODERATE, (3, 10), (1, 32)),
    "t2.micro": Size(1, 1024, LOW, (2, 2), free=True),
    "t2.small": Size(1, 2048, LOW, (3, 4)),
    "t3.micro": Size(2, 1024, FIVE, (2, 2), free=True),
    "t3.small": Size(2, 2048, FIVE, (3, 4)),
    "t3.medium": Size(2, 4096, FIVE, (3, 6)),
    "m5.large": Size(2, 8192, TEN, (3, 10)),
    "m6i.large": Size(2, 8192, TWELVE, (3, 10)),
    "c5.large": Size(2, 4096, TEN, (3, 10)),
    "t4g.micro": Size(2, 1024, FIVE, (2, 2)),
    "t4g.small": Size(2, 2048, FIVE, (3, 4)),
    "m6g.medium": Size(1, 4096, TEN, (2, 4)),
    "m6g.large": Size(2, 8192, TEN, (3, 10)),
}


def named(call: Call, name: str) -> Thing:
    """For a launch: as EC2 describes the type. Raises Refusal."""
    zones(call.region)  # refuses a region that there is not
    if name not in TYPES:
        raise invalid(f"Invalid value '{name}' for InstanceType.")
    return _described(name, TYPES[name])


def _described(name: str, size: Size) -> Thing:
    family = FAMILIES[size.family or name.partition(".")[0]]
    count, _ = size.disks
    return {
        "InstanceType": name,
        "CurrentGeneration": family.current,
        "FreeTierEligible": size.free,
        "SupportedUsageClasses": ["on-demand", "spot"],
        "SupportedRootDeviceTypes": ["ebs", "instance-store"] if count else ["ebs"],
        "SupportedVirtualizationTypes": list(family.virtualization),
        "BareMetal": False,
        "Hypervisor": family.hypervisor,
        "BurstablePerformanceSupported": family.burstable,
        "SupportedBootModes": list(family.boots),
        "NitroEnclavesSupport": "unsupported",
        "NitroTpmSupport": "supported" if family.tpm else "unsupported",
        "InstanceStorageSupported": bool(count),
        **({"InstanceStorageInfo": _storage(family, size)} if count else {}),
        **_machine(family, size),
    }


def _storage(family: Family, size: Size) -> dict[str, Any]:
    count, gigabytes = size.disks
    return {
        "TotalSizeInGB": count * gigabytes,
        "Disks": [{"SizeInGB": gigabytes, "Count": count, "Type": family.disk}],
        "NvmeSupport": "unsupported",
        "EncryptionSupport": "unsupported",
    }


def _machine(family: Family, size: Size) -> dict[str, Any]:
    nitro = "required" if family.nitro else "unsupported"
    interfaces, addresses = size.interfaces
    clock = {"SustainedClockSpeedInGhz": family.clock} if family.clock else {}
    return {
        "ProcessorInfo": {"SupportedArchitectures": list(family.architectures), **clock},
        "VCpuInfo": {
            "DefaultVCpus": size.vcpus,
            "DefaultCores": max(1, size.vcpus // family.threads),
            "DefaultThreadsPerCore": min(size.vcpus, family.threads),
        },
        "MemoryInfo": {"SizeInMiB": size.mib},
        "EbsInfo": {
            "EbsOptimizedSupport": family.optimized,
            "EncryptionSupport": "supported" if family.encrypts else "unsupported",
            "NvmeSupport": nitro,
        },
        "NetworkInfo": {
            "NetworkPerformance": size.network,
            "MaximumNetworkInterfaces": interfaces,
            "MaximumNetworkCards": 1,
            "Ipv4AddressesPerInterface": addresses,
            "EnaSupport": nitro,
            "EfaSupported": False,
        },
    }


TABLE: Table = {
    **plain(
        "bare-metal", "burstable-performance-supported", "current-generation", "free-tier-eligible", "hypervisor",
        "instance-storage-supported", "instance-type", "nitro-enclaves-support", "nitro-tpm-support",
    ),
    "ebs-info.ebs-optimized-support": at("EbsInfo", "EbsOptimizedSupport"),
    "ebs-info.encryption-support": at("EbsInfo", "EncryptionSupport"),
    "ebs-info.nvme-support": at("EbsInfo", "NvmeSupport"),
    "instance-storage-info.disk.count": lambda thing: _disks(thing, "Count"),
    "instance-storage-info.disk.size-in-gb": lambda thing: _disks(thing, "SizeInGB"),
    "instance-storage-info.disk.type": lambda thing: _disks(thing, "Type"),
    "instance-storage-info.encryption-support": at("InstanceStorageInfo", "EncryptionSupport"),
    "instance-storage-info.nvme-support": at("InstanceStorageInfo", "NvmeSupport"),
    "instance-storage-info.total-size-in-gb": at("InstanceStorageInfo", "TotalSizeInGB"),
    "memory-info.size-in-mib": at("MemoryInfo", "SizeInMiB"),
    "network-info.efa-supported": at("NetworkInfo", "EfaSupported"),
    "network-info.ena-support": at("NetworkInfo", "EnaSupport"),
    "network-info.ipv4-addresses-per-interface": at("NetworkInfo", "Ipv4AddressesPerInterface"),
    "network-info.maximum-network-cards": at("NetworkInfo", "MaximumNetworkCards"),
    "network-info.maximum-network-interfaces": at("NetworkInfo", "MaximumNetworkInterfaces"),
    "network-info.network-performance": at("NetworkInfo", "NetworkPerformance"),
    "processor-info.supported-architecture": at("ProcessorInfo", "SupportedArchitectures"),
    "processor-info.sustained-clock-speed-in-ghz": at("ProcessorInfo", "SustainedClockSpeedInGhz"),
    "supported-boot-mode": at("SupportedBootModes"),
    "supported-root-device-type": at("SupportedRootDeviceTypes"),
    "supported-usage-class": at("SupportedUsageClasses"),
    "supported-virtualization-type": at("SupportedVirtualizationTypes"),
    "vcpu-info.default-cores": at("VCpuInfo", "DefaultCores"),
    "vcpu-info.default-threads-per-core": at("VCpuInfo", "DefaultThreadsPerCore"),
    "vcpu-info.default-vcpus": at("VCpuInfo", "DefaultVCpus"),
}  # fmt: skip
OFFERINGS = plain("instance-type", "location")


def _disks(thing: Thing, key: str) -> list[Any]:
    return [disk[key] for disk in thing.get("InstanceStorageInfo", {}).get("Disks", ())]


@SERVICE.operation
def describe_instance_types(call: Call) -> Answer:
    wanted = call.get("InstanceTypes", ())
    if strange := [name for name in wanted if name not in TYPES]:
        raise Refusal(
            "InvalidInstanceType",
            f"The following supplied instance types do not exist: [{', '.join(strange)}]",
        )
    zones(call.region)  # refuses a region that there is not
    found = [_described(name, size) for name, size in TYPES.items() if not wanted or name in wanted]
    return paged(call, matching(call, found, TABLE), "InstanceTypes", most=MOST)


@SERVICE.operation
def describe_instance_type_offerings(call: Call) -> Answer:
    """Everything is everywhere."""
    kind = call.get("LocationType", "region")
    keys = {"availability-zone": "ZoneName", "availability-zone-id": "ZoneId"}
    places = {
        "region": [call.region],
        "outpost": [],
        **{each: [zone[key] for zone in zones(call.region)] for each, key in keys.items()},
    }
    found: list[Thing] = [
        {"InstanceType": name, "LocationType": kind, "Location": place}
        for name in TYPES
        for place in places[kind]
    ]
    return paged(call, matching(call, found, OFFERINGS), "InstanceTypeOfferings")
