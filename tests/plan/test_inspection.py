"""What a guest answered is judged as its user would."""

import pytest

from tasks.plan.inspection import answers, verdict
from tasks.spec.record import Package

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


def failed(text: str) -> dict[str, str]:
    checks = verdict(answers(text), packages=PACKAGES, disk=2_600_000_000, now=1000000.0)
    return {check.name: check.detail for check in checks if not check.passed}


def test_a_guest_that_is_well_passes():
    """Every check, and there are eight."""
    assert failed(WELL) == {}
    assert len(verdict(answers(WELL), packages=PACKAGES, disk=2_600_000_000, now=1000000.0)) == 8


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
