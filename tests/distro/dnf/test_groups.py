"""dnf5 takes ids, people write names: what it lists, as 5.4.6 printed it, says which is whose."""

import pytest

from tasks.distro.dnf.groups import ids

LISTED = """\
Updating and loading repositories:
 good                                   100% |   4.0 MiB/s |   8.2 KiB |  00m00s
Repositories loaded.
ID                                               Name                                                          Installed
core                                             Core Stuff                                                           no
more                                             More  (with two spaces) yes                                          no
long-group-identifier-that-is-long-too-for-tests A Rather Long Name For A Group That Nobody Would Have Thought Of     no
Groups: 3 (0 installed, 3 available)
ID                   Name            Installed
minimal-environment  Minimal Install        no""".splitlines()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (("core",), ("core",)),
        (("Core",), ("core",)),
        (("Core Stuff", "minimal install"), ("core", "minimal-environment")),
        (("More  (with two spaces) yes",), ("more",)),
        (("A Rather Long*",), ("long-group-identifier-that-is-long-too-for-tests",)),
        (("*e",), ("core", "more")),
        (("Core Stuff", "core"), ("core",)),
        (("Basse", "Installed", "ID"), ("Basse", "Installed", "ID")),
    ],
)
def test_a_group_is_found_by_its_id_and_by_its_name(written, meant):
    """In large letters or small, by a pattern, and once; what is unknown is left for dnf5 to complain of."""
    assert ids(written, LISTED) == meant


def test_where_nothing_is_listed_all_stays_as_it_was_written():
    """As when the metadata could not be fetched, and when no group is there."""
    assert ids(("Base", "Core"), ["No matches found: no environments exist."]) == ("Base", "Core")
