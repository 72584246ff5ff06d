"""Regions and their zones. What must be opted into is off, as in an account that never asked for it: signature.py has it so."""

from collections.abc import Sequence

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.ec2.filters import matching, plain
from tasks.cloud.local.ec2.service import SERVICE, invalid
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.signature import ON
from tasks.cloud.local.store import Thing

OFF = (
    "af-south-1", "ap-east-1", "ap-east-2", "ap-south-2", "ap-southeast-3", "ap-southeast-4", "ap-southeast-5",
    "ap-southeast-6", "ap-southeast-7", "ca-west-1", "eu-central-2", "eu-south-1", "eu-south-2", "il-central-1",
    "me-central-1", "me-south-1", "mx-central-1",
)  # fmt: skip
# Where zones have other letters than a, b and c
LETTERS = {
    "us-east-1": "abcdef", "us-west-2": "abcd", "us-west-1": "ac", "ap-northeast-1": "acd",
    "ap-northeast-2": "abcd", "ca-central-1": "abd",
}  # fmt: skip
SHORT = {
    "north": "n",
    "south": "s",
    "east": "e",
    "west": "w",
    "central": "c",
    "northeast": "ne",
    "southeast": "se",
}

REGIONS = plain("endpoint", "opt-in-status", "region-name")
ZONES = plain(
    "group-long-name", "group-name", "opt-in-status", "region-name", "state", "zone-id", "zone-name", "zone-type"
) | dict.fromkeys(("message", "parent-zone-id", "parent-zone-name"), lambda _: None)  # fmt: skip


@SERVICE.operation
def describe_regions(call: Call) -> Answer:
    names, every = call.get("RegionNames", ()), call.get("AllRegions", False)
    for name in names:
        if name not in ON + OFF:
            raise invalid(f"Invalid region name: {name}")
    wanted = names or ((*ON, *OFF) if every else ON)
    return {"Regions": matching(call, map(_region, wanted), REGIONS)}


def _region(name: str) -> Thing:
    return {
        "RegionName": name,
        "Endpoint": f"ec2.{name}.amazonaws.com",
        "OptInStatus": "opt-in-not-required" if name in ON else "not-opted-in",
    }


@SERVICE.operation
def describe_availability_zones(call: Call) -> Answer:
    call.get("AllAvailabilityZones", False)  # there are no others: no local zones, none of Wavelength
    found: Sequence[Thing] = zones(call.region)
    for parameter, key in (("ZoneNames", "ZoneName"), ("ZoneIds", "ZoneId")):
        found = _chosen(found, call.get(parameter, ()), key)
    return {"AvailabilityZones": matching(call, found, ZONES)}


def _chosen(zones: Sequence[Thing], wanted: Sequence[str], key: str) -> Sequence[Thing]:
    there = [zone[key] for zone in zones]
    for each in wanted:
        if each not in there:
            raise invalid(f"Invalid availability zone: [{each}]")
    return [zone for zone in zones if not wanted or zone[key] in wanted]


def zones(region: str) -> list[Thing]:
    """In the order of their letters. Raises Refusal where there is no such region."""
    if region not in ON:
        raise Refusal("AuthFailure", f"There is no region {region} that this account may use", 401)
    return [
        _zone(region, letter, number)
        for number, letter in enumerate(LETTERS.get(region, "abc"), start=1)
    ]


def _zone(region: str, letter: str, number: int) -> Thing:
    area, direction, index = region.split("-")
    return {
        "State": "available",
        "OptInStatus": "opt-in-not-required",
        "Messages": [],
        "RegionName": region,
        "ZoneName": f"{region}{letter}",
        "ZoneId": f"{area}{SHORT[direction]}{index}-az{number}",
        "GroupName": f"{region}-zg-1",
        "NetworkBorderGroup": region,
        "ZoneType": "availability-zone",
    }
