"""What the guest answered, judged: is this an image that anybody would want to run? Pure."""

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime

from tasks.spec.record import Check, Package
from tasks.spec.units import UNITS

CLOCK = (
    120  # seconds that guest and host may differ: the guest took its time from us when it was powered on
)
GROWN = 0.9  # of the disk: a file system keeps some for itself
NAMED = 8  # packages that a verdict lists before it says "and more"

# What an image of today promises; and one of 2008, which has no units, no machine id, and a root that stays as it is.
HOST_KEYS = "host keys on the console"
TODAY = (
    "system is up",
    "no failed units",
    "root is writable",
    "root has grown to the disk",
    "network",
    "clock",
    "machine id of its own",
    "packages as recorded",
    HOST_KEYS,
)
OF_2008 = ("system is up", "root is writable", "network", "clock", "packages as recorded")

Answers = dict[str, list[str]]


def answers(text: str) -> Answers:
    """'name<tab>value' lines, values gathered by name."""
    found: Answers = {}
    for line in text.splitlines():
        name, tab, value = line.partition("\t")
        if tab:
            found.setdefault(name, []).append(value.strip())
    return found


def verdict(
    said: Answers,
    *,
    promises: Collection[str],
    packages: Iterable[Package],
    disk: int,
    now: float,
    host_keys: int,
) -> tuple[Check, ...]:
    """Every check that is promised, passed or not.

    `disk`: the size in bytes of the disk that the guest was given; `host_keys`: how many its console showed.
    """
    shown = Check(name=HOST_KEYS, passed=host_keys > 0, detail=f"{host_keys}")
    every = (*_checks(said, packages, disk, now), shown)
    return tuple(check for check in every if check.name in promises)


def _checks(said: Answers, packages: Iterable[Package], disk: int, now: float) -> Iterator[Check]:
    def one(name: str) -> str:
        return " ".join(said.get(name, []))

    def figure(name: str) -> float:
        return float(one(name)) if one(name).isdecimal() else 0.0

    failed = one("failed-units")
    yield Check(
        name="system is up", passed=one("state") == "running", detail=one("state") or "no answer"
    )
    yield Check(
        name="no failed units", passed="failed-units" in said and not failed, detail=failed or "none"
    )
    yield Check(
        name="root is writable",
        passed=one("root-writable") == "yes",
        detail=one("root-writable") or "it is not",
    )
    grown = figure("root-bytes")
    yield Check(
        name="root has grown to the disk",
        passed=grown >= GROWN * disk,
        detail=f"{grown // UNITS['MiB']:.0f} MiB of {disk // UNITS['MiB']}",
    )
    yield Check(name="network", passed=bool(one("address")), detail=one("address") or "no address")
    drift = abs(figure("clock") - now)
    guest = datetime.fromtimestamp(figure("clock"), UTC)
    yield Check(
        name="clock", passed=drift <= CLOCK, detail=f"{guest:%Y-%m-%d %H:%M:%S} UTC, {drift:.0f} s off"
    )
    yield Check(
        name="machine id of its own", passed=bool(one("machine-id")), detail=one("machine-id") or "empty"
    )
    yield _packages(said, packages)


def _packages(said: Answers, packages: Iterable[Package]) -> Check:
    wanted = {f"{each.name} {each.version} {each.architecture}" for each in packages}
    found = {" ".join(line.split()) for line in said.get("package", [])}
    wrong = [f"missing: {each}" for each in sorted(wanted - found)] + [
        f"extra: {each}" for each in sorted(found - wanted)
    ]
    shown = "; ".join(wrong[:NAMED]) + (f"; and {len(wrong) - NAMED} more" if len(wrong) > NAMED else "")
    return Check(
        name="packages as recorded", passed=not wrong, detail=shown or f"{len(wanted)} packages"
    )
