"""What a guest answered is judged as its user would."""

import pytest

from tasks.plan.inspection import OF_2008, TODAY, answers, verdict
from tasks.spec.record import Check, Package

PACKAGES = (
    Package(name="bash", version="5.2", architecture="amd64"),
    Package(name="dpkg", version="1.21", architecture="amd64"),
)
WELL = """\
state\trunning
failed-units\t
root-writable\tyes
root-bytes\t2500000000
address\tens3 UP 10.0.2.15/24
route\tdefault via 10.0.2.2
clock\t1000050
machine-id\t0123456789abcdef
package\tbash\t5.2\tamd64
package\tdpkg\t1.21\tamd64
"""


def checks(text: str, promises: tuple[str, ...] = TODAY, host_keys: int = 2) -> tuple[Check, ...]:
    return verdict(
        answers(text),
        promises=promises,
        packages=PACKAGES,
        disk=2_600_000_000,
        now=1000000.0,
        host_keys=host_keys,
    )


def failed(text: str) -> dict[str, str]:
    return {check.name: check.detail for check in checks(text) if not check.passed}


def test_a_guest_that_is_well_passes():
    """Every check that is promised, and no other."""
    assert failed(WELL) == {}
    assert [check.name for check in checks(WELL)] == list(TODAY)
    assert [check.name for check in checks(WELL, OF_2008)] == list(OF_2008)


def test_host_keys_that_nobody_saw_cannot_be_pinned():
    """So an image that promises them and shows none is not what was built."""
    assert [check.name for check in checks(WELL, host_keys=0) if not check.passed] == [TODAY[-1]]


@pytest.mark.parametrize(
    ("old", "new", "name", "detail"),
    [
        ("state\trunning", "state\tdegraded", "system is up", "degraded"),
        ("failed-units\t", "failed-units\tssh.service", "no failed units", "ssh.service"),
        ("failed-units\t\n", "", "no failed units", "none"),
        ("root-writable\tyes", "root-writable\t", "root is writable", "it is not"),
        ("2500000000", "2000000000", "root has grown to the disk", "1907 MiB of 2479"),
        ("address\tens3 UP 10.0.2.15/24", "address\t", "network", "no address"),
        ("clock\t1000050", "clock\t1009999", "clock", "1970-01-12 16:33:19 UTC, 9999 s off"),
        ("machine-id\t0123456789abcdef", "machine-id\t", "machine id of its own", "empty"),
        (
            "bash\t5.2",
            "bash\t5.3",
            "packages as recorded",
            "missing: bash 5.2 amd64; extra: bash 5.3 amd64",
        ),
    ],
    ids=lambda value: value.split("\t")[0] or "gone",
)
def test_a_guest_that_is_not_well_is_named(old, new, name, detail):
    """One check fails, with what was seen."""
    assert old in WELL
    assert failed(WELL.replace(old, new)) == {name: detail}


def test_a_guest_that_says_nothing_passes_nothing():
    """Silence is no consent."""
    assert len(failed("")) == 8
