"""What dnf says becomes what a person can act on. The lines are quoted from runs of dnf 4.14 and 5.4.6, or from dnf5's tests."""

from collections.abc import Iterable

import pytest

from tasks.distro import Wanted
from tasks.distro.complaints import explained
from tasks.distro.dnf.faults import Asked, nearest, told
from tasks.distro.dnf.talk import Listener
from tasks.distro.dnf.words import KNOWN
from tasks.kit.fault import ConfigFault, Fault, HostFault, ToolFault
from tasks.kit.report import Silent
from tasks.spec.source import Yum, YumRepository

FAILED = ToolFault("could not", where="nsenter --mount -- dnf install", hint="the log")
NOBODY = Asked(lambda *_: [], lambda _: [])
REPOSITORY = YumRepository(id="base", baseurl=("http://m.example/base",), gpgcheck=False)

# dnf5: libdnf5/base/solver_problems.cpp, log_event.cpp, transaction.cpp, rpm/rpm_signature.cpp, dnf5/context.cpp, and the
# expected output in rpm-software-management/ci-dnf-stack (repo-sync.feature, gpg.feature, scenarios of "install").
OF_DNF5 = [
    (["No match for argument: nginx-lihgt"], ConfigFault, "packages: no repository has nginx-lihgt"),
    (
        ["Argument 'lib' matches only excluded packages."],
        ConfigFault,
        "packages: `exclude` keeps out lib",
    ),
    (
        [
            "Problem 1: conflicting requests",
            "  - nothing provides libtidy.so.5()(64bit) needed by mailspring-1.17.0-0.1.x86_64 from base",
        ],
        ConfigFault,
        "repositories: nothing in them brings libtidy.so.5()(64bit), needed by mailspring-1.17.0-0.1.x86_64",
    ),
    (
        ["Problem: package a-1-1.x86_64 from base does not have a compatible architecture"],
        ConfigFault,
        "architecture: for another one than the image's: a-1-1.x86_64",
    ),
    (
        ["  - package a-1-1.noarch from base conflicts with lib provided by lib-1-1.noarch from base"],
        ConfigFault,
        "packages: a-1-1.noarch and lib-1-1.noarch do not go together",
    ),
    (
        [
            "Problem: cannot install both json-c-2-2.x86_64 from updates and json-c-2-2.noarch from updates",
        ],
        ConfigFault,
        "packages: json-c-2-2.x86_64 and json-c-2-2.noarch exclude each other",
    ),
    (
        ["  - package a-2-1.noarch from base obsoletes b provided by b-1-1.noarch from base"],
        ConfigFault,
        "packages: a-2-1.noarch takes the place of b-1-1.noarch, and both are wanted",
    ),
    (
        ["  - package a-1-1.noarch from base is filtered out by exclude filtering"],
        ConfigFault,
        "exclude: it keeps out a-1-1.noarch, which others need",
    ),
    (
        [
            "Transaction failed: Signature verification failed.",
            (
                'OpenPGP check for package "flac-1.3.2-8.fc29.x86_64" (/c/flac-1.3.2-8.fc29.x86_64.rpm) from repo "base" has'
                " failed: The package is not signed."
            ),
        ],
        ConfigFault,
        "repositories: nobody has signed flac-1.3.2-8.fc29.x86_64",
    ),
    (
        [
            (
                'OpenPGP check for package "basesystem-11-6.fc29.noarch" (/c/basesystem-11-6.fc29.noarch.rpm) from repo "base"'
                " has failed: Public key is not installed."
            ),
        ],
        ConfigFault,
        "repositories: signed with a key that `gpgkey` does not hold: basesystem-11-6.fc29.noarch",
    ),
    (
        [
            (
                'PGP check for package "a-1-1.noarch" (/c/a-1-1.noarch.rpm) from repo "base" has failed: Import of the key'
                " didn't help, wrong key?"
            ),
        ],
        ConfigFault,
        "repositories: signed with a key that `gpgkey` does not hold: a-1-1.noarch",
    ),
    (
        [
            (
                'PGP check for package "wget-2.0.0-1.fc29.x86_64" (/c/wget-2.0.0-1.fc29.x86_64.rpm) from repo "base" has'
                " failed: Problem occurred when opening the package."
            ),
        ],
        ConfigFault,
        "repositories: not as it was signed, or not in a way that rpm on this machine takes: wget-2.0.0-1.fc29.x86_64",
    ),
    (
        [
            ">>> Curl error (37): Could not read a file:// file for file:///non/existent/repo/repodata/repomd.xml",
            ">>> Usable URL not found",
            'Failed to download metadata (baseurl: "/non/existent/repo") for repository "testrepo": Usable URL not found',
        ],
        HostFault,
        "repositories: the metadata of testrepo cannot be fetched",
    ),
    (
        [
            ">>> repomd.xml GPG signature verification error: Bad PGP signature",
            (
                'Failed to download metadata (baseurl: "file:///srv") for repository "base": repomd.xml GPG signature'
                " verification error: Bad PGP signature"
            ),
        ],
        ConfigFault,
        "repositories: the metadata of base is not as a key of `gpgkey` has signed it",
    ),
    (
        [
            ">>> Status code: 404 for https://m.example/Packages/a-1-1.x86_64.rpm",
            ">>> No more mirrors to try - All mirrors were already tried without success",
            "Failed to download packages",
            " Librepo error: Cannot download Packages/a-1-1.x86_64.rpm: All mirrors were tried",
        ],
        HostFault,
        "the mirrors did not give a-1-1.x86_64",
    ),
    (
        [
            "Transaction failed: Rpm transaction failed.",
            "  - installing package cowsay-3-1.noarch needs 376KB more space on the / filesystem",
        ],
        HostFault,
        "no space is left for cowsay-3-1.noarch",
    ),
    (
        [
            "  - file /usr/bin/erb conflicts between attempted installs of ruby4-1-1.x86_64 and ruby3-1-1.x86_64"
        ],
        ConfigFault,
        "packages: ruby4-1-1.x86_64 and ruby3-1-1.x86_64 both bring /usr/bin/erb",
    ),
    (
        [
            ">>> [RPM] unpacking of archive failed on file /opt/rocm: cpio: mkdir failed - No such file or directory",
            ">>> Unpack error: rocm-0:7-1.x86_64",
        ],
        ToolFault,
        "packages: cannot be unpacked: rocm-0:7-1.x86_64",
    ),
    # From here on, dnf5 5.4.6 with rpm 6.1.0 said so.
    (
        [
            "Failed to download metadata",
            ' Error loading local metadata for repository "good"',
            "  Librepo error: repomd.xml parser error: Parse error at line: 21 (Invalid bytes in character encoding",
        ],
        HostFault,
        "repositories: what the mirror serves as the metadata of good is something else",
    ),
    (
        [
            ">>> Parsing unsuccessful: Element <repomd> was not found - Bad repomd file",
            (
                'Failed to download metadata (baseurl: "http://m.example/html") for repository "good": Parsing unsuccessful:'
                " Element <repomd> was not found - Bad repomd file"
            ),
        ],
        HostFault,
        "repositories: what the mirror serves as the metadata of good is something else",
    ),
    (
        [
            ">>> Status code: 404 for http://m.example/list (IP: 127.0.0.1) - http://m.example/list",
            (
                ">>> Download failed: Status code: 404 for http://m.example/list (IP: 127.0.0.1),Cannot prepare internal"
                " mirrorlist: No URLs in mirrorlist"
            ),
            (
                'Failed to download metadata (mirrorlist: "http://m.example/list") for repository "good": Download failed:'
                " Status code: 404 for http://m.example/list (IP: 127.0.0.1)"
            ),
        ],
        HostFault,
        "repositories: the list of mirrors of good cannot be used",
    ),
    (
        [
            'Failed to download metadata (mirrorlist: "http://m.example/list") for repository "good": Usable URL not found'
        ],
        HostFault,
        "repositories: the metadata of good cannot be fetched",
    ),
    (
        [
            (
                'Failed to download metadata (mirrorlist: "http://m.example/list") for repository "good": Cannot prepare'
                " internal mirrorlist: No URLs in mirrorlist"
            )
        ],
        HostFault,
        "repositories: the list of mirrors of good names none",
    ),
    (
        [
            "Failed to download packages",
            " Librepo error: Cannot download hello-1-1.noarch.rpm: All mirrors were tried",
            (
                ">>> Downloading successful, but checksum doesn't match. Calculated: 35bde8(sha256)  Expected: 23f6bb(sha256)"
                "  - http://m.example/good/hello-1-1.noarch.rpm"
            ),
        ],
        HostFault,
        "the mirror serves hello-1-1.noarch, but it is not what its metadata says",
    ),
    (
        ['SQL statement execution failed: "ROLLBACK": (1) - SQL logic error'],
        HostFault,
        "no space is left for the root file system",
    ),
    (
        ["  - package hello-1-1.noarch does not verify: no digest"],
        ConfigFault,
        "repositories: rpm on this machine does not accept hello-1-1.noarch: no digest",
    ),
]
# dnf 4.14 and rpm 4.18, where tests/test_rootfs_rpm.py does not bring them to say it.
OF_DNF4 = [
    (
        [
            'The GPG keys listed for the "base" repository are already installed but they are not correct for this package.',
            "Check that the correct key URLs are configured for this repository.. Failing package is: app-1-1.noarch",
        ],
        ConfigFault,
        "repositories: signed with a key that `gpgkey` does not hold: app-1-1.noarch",
    ),
    (
        ["Key import failed (code 2). Failing package is: app-1-1.noarch"],
        ConfigFault,
        "repositories: rpm on this machine refuses the key for app-1-1.noarch",
    ),
    (
        [
            "error: unpacking of archive failed on file /proc;65: cpio: chown failed - Invalid argument",
            "Error unpacking rpm package filesystem-1-1.x86_64",
        ],
        ToolFault,
        "packages: cannot be unpacked: filesystem-1-1.x86_64",
    ),
    (
        ["  package glibc-2-1.i686 is intended for a different architecture"],
        ConfigFault,
        "architecture: glibc-2-1.i686 is for a different architecture",
    ),
    (
        ["error: unpacking of archive failed on file /x: cpio: write failed - No space left on device"],
        HostFault,
        "no space is left for the root file system",
    ),
    (["Error: something new"], ToolFault, "could not"),
]


@pytest.mark.parametrize(("lines", "kind", "problem"), [*OF_DNF5, *OF_DNF4])
def test_what_dnf_says_is_told_in_the_configurations_words(lines, kind, problem):
    """With its own lines as the evidence."""
    found = explained(FAILED, ["Repositories loaded.", *lines, "Complete!"], KNOWN)
    assert type(found) is kind
    assert found.problem == problem
    assert found is FAILED or set(found.evidence) <= {line.strip() for line in lines}
    assert found is FAILED or lines[-1].strip() in found.evidence
    assert found.hint


def listening(*lines: str) -> Listener:
    listener = Listener(Silent())
    for line in lines:
        listener(line)
    return listener


def wanted(**other: object) -> Wanted:
    keys: dict[str, object] = {"packages": (), "repositories": (REPOSITORY,), **other}
    return Wanted.model_validate(
        {"distro": "fedora", "release": "44", "architecture": "x86_64", "epoch": 0, **keys}
    )


def answers(**lines: Iterable[str]) -> Asked:
    """Of a dnf that is asked with these words among its arguments."""

    def dnf(*query: str) -> list[str]:
        return next((list(said) for word, said in lines.items() if word in query), [])

    return Asked(dnf, lambda _: [])


def tell(listener: Listener, order: Wanted, asked: Asked = NOBODY) -> Fault:
    found = told(FAILED, listener, order, asked)
    assert found
    return found


def test_dnf5_says_of_a_group_what_it_says_of_a_package():
    """So the configuration tells which it was."""
    order = wanted(groups=("Fedora Workstation",), packages=("vim",))
    lines = "No match for argument: Fedora Workstation", "No match for argument: vim"
    listed = [
        "ID                    Name                  Installed",
        "workstation   Fedora Workstation 2   no",
    ]
    found = tell(listening(*lines), order, answers(group=listed, repoquery=["name=vim-enhanced"]))
    assert (
        found.problem == "groups: no repository has Fedora Workstation; packages: no repository has vim"
    )
    assert found.evidence == (
        "No match for argument: @Fedora Workstation",
        "No match for argument: vim",
        "Fedora Workstation: did you mean Fedora Workstation 2 or workstation?",
        "vim: there are vim-enhanced",
    )
    assert found.where == "dnf install"


def test_what_dnf_does_not_come_to_is_asked_for():
    """Packages when a group is unknown, repositories when one is broken: each once."""
    order = wanted(groups=("x",), packages=("y",))
    asked = answers(**{"--assumeno": ["No match for argument: y"]})
    found = tell(listening("Module or Group 'x' is not available."), order, asked)
    assert found.problem == "groups: no repository has x; packages: no repository has y"
    other = REPOSITORY.model_copy(update={"id": "other"})
    line = "Error: Failed to download metadata for repo '{}': Cannot download repomd.xml"
    both = wanted(repositories=(REPOSITORY, other))
    asked = answers(**{"--disablerepo=base": [line.format("other")]})
    found = tell(listening(line.format("base")), both, asked)
    assert found.problem == "repositories: the metadata of base, other cannot be fetched"


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("bas", ["Base", "base", "Core"], "did you mean Base?"),
        ("NGINX-LIHGT", ["nginx-light", "nginx"], "did you mean nginx-light or nginx?"),
        ("x", [], "there are none"),
        ("x", ["b", "a"], "there are a, b"),
        ("x", [f"p{n}" for n in range(100)], "nothing comes near"),
    ],
)
def test_what_comes_near_a_name_is_suggested(name, known, said):
    """In whatever case it was written."""
    assert nearest(name, known) == said


PRE = "error: %prein(a-1-1.noarch) scriptlet failed, exit status 1"
POST = ">>> [RPM] %post(a-1-1.noarch) scriptlet failed, exit status 3"
TRIGGER = ">>> [RPM] %triggerin(a-1-1.noarch) scriptlet failed, exit status 4"
ENDED = "Error: Transaction failed"
ENDED_5 = "Transaction failed: Rpm transaction failed."


@pytest.mark.parametrize(
    ("lines", "excused"),
    [
        ([PRE, "error: a-1-1.noarch: install failed", ENDED], True),
        ([PRE, ENDED], True),
        ([PRE, "Error: something new"], False),
        ([PRE, "error: b-1-1.noarch: install failed", ENDED], False),
        (["warning: %post(a-1-1.noarch) scriptlet failed, exit status 1", ENDED], False),
        ([PRE, "Error unpacking rpm package b-1-1.noarch", ENDED], False),
        ([PRE, ">>> [RPM] a-1-1.noarch: install failed", ENDED_5], True),
        ([POST, ENDED_5], True),
        ([TRIGGER, ENDED_5], True),
        ([POST, ">>> [RPM] b-1-1.noarch: install failed", ENDED_5], False),
        ([POST, ENDED_5, "  - something new"], False),
        ([POST, "something new"], False),
    ],
)
def test_only_what_may_fail_is_excused(lines, excused):
    """A transaction that failed for something else besides is a fault all the same."""
    order = wanted(packages=("a",), yum=Yum(allow_failing=("a",)))
    assert (told(FAILED, listening(*lines), order, NOBODY) is None) == excused


def test_many_lines_are_quoted_as_far_as_they_can_be_read():
    """Five names in the sentence, twenty lines below it."""
    lines = [f"nothing provides n{each} needed by p{each}-1-1.noarch" for each in range(100)]
    found = explained(FAILED, lines, KNOWN)
    assert "n0, n1, n2, n3, n4 and 95 more, needed by p0-1-1.noarch" in found.problem
    assert len(found.evidence) == 21
    assert found.evidence[-1] == "and 80 more lines"


def test_signatures_are_told_by_rpms_own_words():
    """For the files that dnf names; while a digest is wrong, the key is not the matter."""
    line = "Problem opening package a-1-1.noarch.rpm"
    asked: list[str] = []

    def signatures(names: Iterable[str]) -> list[str]:
        asked.extend(names)
        return [
            "/c/packages/a-1-1.noarch.rpm:",
            "    Header V4 RSA/SHA512 Signature, key ID 1280fa3b: NOKEY",
            "    Header SHA256 digest: OK",
            "    MD5 digest: BAD (Expected 3ba718b0 != 0d350421)",
        ]

    found = tell(listening(line), wanted(), Asked(lambda *_: [], signatures))
    assert asked == ["a-1-1.noarch.rpm"]
    assert found.evidence == (line, "a-1-1.noarch.rpm: MD5 digest: BAD (Expected 3ba718b0 != 0d350421)")
