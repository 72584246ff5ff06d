"""apt's words become those of somebody who wrote a configuration."""

import pytest

from tasks.distro import FAMILY, apt, distro
from tasks.distro.complaints import explained
from tasks.kit.fault import ConfigFault, HostFault, ToolFault
from tasks.spec.source import AptRepository


@pytest.mark.parametrize(
    ("line", "kind", "problem"),
    [
        (
            "E: Unable to locate package nginx-lihgt",
            ConfigFault,
            "packages: no mirror has a package nginx-lihgt",
        ),
        ("E: Package 'x' has no installation candidate", ConfigFault, "packages: x cannot be installed"),
        (
            "E: The repository 'https://m.example/debian bookworm InRelease' is not signed.",
            ConfigFault,
            "repositories: no signed release at https://m.example/debian bookworm InRelease",
        ),
        (
            "W: Failed to fetch https://m.example/dists/bookworm/InRelease  Could not connect",
            HostFault,
            "the mirror did not give https://m.example/dists/bookworm/InRelease",
        ),
        ("E: something new", ToolFault, "could not populate"),
    ],
    ids=["unknown", "no candidate", "not signed", "unreachable", "anything else"],
)
def test_what_apt_says_is_told_in_the_configurations_words(line, kind, problem):
    """With apt's own line as the evidence."""
    fault = ToolFault(
        "could not populate", evidence=["the last line"], where="mmdebstrap ...", hint="the log"
    )
    told = explained(fault, ["I: fine", line, "I: after"], apt.KNOWN)
    assert type(told) is kind
    assert told.problem == problem
    assert told.evidence == (("the last line",) if kind is ToolFault else (line,))
    assert (told.where, told.hint) == ("mmdebstrap ...", "the log")


def test_repositories_become_a_sources_file():
    """One stanza each, credentials and keyring with them: they are for the build."""
    repositories = [
        AptRepository(
            uri="https://me:pw@m.example/debian",
            suites=("bookworm", "bookworm-updates"),
            signed_by="/k.gpg",
        ),
        AptRepository(uri="file:///srv/own", suites=("./",), components=("main", "extra")),
    ]
    assert apt.sources(repositories) == (
        "Types: deb\nURIs: https://me:pw@m.example/debian\nSuites: bookworm bookworm-updates\n"
        "Components: main\nSigned-By: /k.gpg\n\n"
        "Types: deb\nURIs: file:///srv/own\nSuites: ./\nComponents: main extra\n"
    )


def test_a_family_is_found_by_the_distributions_name():
    """And has all that the stages ask of one."""
    for name in FAMILY:
        family = distro(name)
        assert family.HOOKS
        assert family.system(name, "9").skeleton
