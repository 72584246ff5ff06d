"""What dnf prints while it works: progress, scriptlets that failed, and what its complaints mean."""

import difflib
import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatch

from tasks.distro.complaints import Complaint
from tasks.kit.fault import ConfigFault, Fault, HostFault, ToolFault
from tasks.kit.proc import ROOM
from tasks.kit.report import Report

REMEMBERED = 40  # lines that a failed scriptlet may have printed
DOWNLOAD = re.compile(r"^\((\d+)/(\d+)\): ")
STEP = re.compile(
    r"^  (?:Running scriptlet|Installing|Upgrading|Preparing|Verifying) *: (\S*) +(\d+)/(\d+)"
)
# rpm's own words. dnf repeats them as "Error in POSTIN scriptlet in rpm package x", and ends with 0.
FAILED = re.compile(r"%(\w+)\((.+)-[^-]+-[^-]+\) scriptlet failed, (exit status \d+|signal \d+)")
# Of a group's mandatory members; dnf goes on without them, as yum did, and so do we: real groups name such.
MISSING = re.compile(r'^No match for group package "(.+)"')
UNKNOWN_GROUP = re.compile(r"Module or Group '(.+)' is not available|No match for argument: @(.+)")
UNKNOWN_PACKAGE = re.compile(r"No match for argument: ([^@\s]\S*)")
GONE_ON = "what was fetched is kept: run doit again, and it goes on from there"
# In the order in which they explain each other: what is said later is often a consequence.
KNOWN = (
    Complaint(
        re.compile(r"installing package (\S+) needs (\S+) more space"),
        HostFault,
        "no space is left: {0} needs {1} more",
        ROOM,
    ),
    Complaint(UNKNOWN_GROUP, ConfigFault, "groups: no repository has a group {0}"),
    Complaint(UNKNOWN_PACKAGE, ConfigFault, "packages: no repository has {0}"),
    Complaint(
        re.compile(r"package (\S+)(?: from \S+)? does not have a compatible architecture"),
        ConfigFault,
        "architecture: the repositories have {0}, which is for another",
        "write the architecture that they are for, or other repositories",
    ),
    Complaint(
        re.compile(r"nothing provides (.+?) needed by (\S+)"),
        ConfigFault,
        "repositories: nothing in them brings {0}, which {1} needs",
        "add the repository that has it, or leave out what needs it",
    ),
    Complaint(
        re.compile(r"Package (\S+) is not signed"),
        ConfigFault,
        "repositories: {0} is not signed",
        "`gpgcheck: false` installs what nobody has signed",
    ),
    Complaint(
        re.compile(r"Public key for (\S+) is not installed"),
        ConfigFault,
        "repositories: {0} is signed with a key that `gpgkey` does not hold",
        "add the key to `gpgkey`, if you trust it",
    ),
    Complaint(
        re.compile(r"Failing package is: (\S+)|(?:Problem opening|GPG check FAILED.*?) package (\S+)"),
        ConfigFault,
        "repositories: the signature of {0} is not good",
        "the mirror serves something else than its distribution signed; take another",
    ),
    Complaint(
        re.compile(
            r"(?:repomd\.xml GPG signature verification error|GPG verification is enabled, but GPG signature)(.*)"
        ),
        ConfigFault,
        "repositories: the metadata is not signed with a key of `gpgkey`{0}",
    ),
    Complaint(
        re.compile(r"(\S+): Downloading successful, but checksum doesn't match"),
        HostFault,
        "the mirror serves {0}, but it is not what its metadata says: the checksum differs",
        "the mirror is being updated, or is damaged: wait, or take another. What was fetched is kept",
    ),
    Complaint(
        re.compile(
            r"(?:Failed to download metadata|Cannot prepare internal mirrorlist).*(?:repo '([^']+)')?"
        ),
        HostFault,
        "repositories: {0}: its metadata cannot be fetched",
        "look whether `baseurl` leads to the folder that holds repodata/; " + GONE_ON,
    ),
    Complaint(
        re.compile(r"(\S+): Cannot download, all mirrors were already tried"),
        HostFault,
        "the mirrors did not give {0}",
        GONE_ON,
    ),
)


@dataclass(frozen=True)
class Failed:
    """A package's script that ended badly, with what it printed."""

    package: str
    script: str
    how: str
    output: tuple[str, ...]

    @property
    def told(self) -> str:
        return f"%{self.script} of {self.package} ({self.how})"


@dataclass
class Listener:
    """Takes dnf's output line by line."""

    report: Report
    said: list[str] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def __call__(self, line: str) -> None:
        self.said.append(line)
        download, step, failed = DOWNLOAD.match(line), STEP.match(line), FAILED.search(line)
        missing = MISSING.match(line)
        if missing:
            self.report.noted(f"a group names {missing[1]}, which no repository has")
        elif download:
            self.report.moved(int(download[1]), int(download[2]), "packages")
        elif step:
            self.report.moved(int(step[2]), int(step[3]), "steps")
            self.recent.clear()
        elif failed:
            output = tuple(each for each in self.recent if each.strip())
            self.failed.append(Failed(failed[2], failed[1], failed[3], (*output, line.strip())))
        else:
            self.recent.append(line)

    def fault(self, *, allowed: Iterable[str] = ()) -> Fault | None:
        """What to say of scriptlets that failed, if any did that may not."""
        failed = [
            each for each in self.failed if not any(fnmatch(each.package, glob) for glob in allowed)
        ]
        if not failed:
            return None
        return ToolFault(
            f"{len(failed)} scriptlet(s) failed: {', '.join(each.told for each in failed)}",
            evidence=[line for each in failed for line in each.output],
            hint=f"mend the package, or let it pass: yum: {{allow_failing: [{failed[0].package}]}}",
        )


def near(fault: Fault, ask: Callable[..., str]) -> Fault:
    """The same fault, with the names that come near one that nobody knows. `ask` runs a query of dnf's."""
    groups = _named(UNKNOWN_GROUP, fault)
    packages = _named(UNKNOWN_PACKAGE, fault)
    try:
        if groups:
            listed = re.findall(
                r"^ {3}(.+?) \((\S+)\)$", ask("group", "list", "-v", "--hidden"), re.MULTILINE
            )
            known = [name for pair in listed for name in pair]
        elif packages:
            known = ask("repoquery", "--qf", "%{name}\n").split()
        else:
            return fault
    except ToolFault:
        return fault
    told = [f"{name}: {_nearest(name, known)}" for name in groups or packages]
    return type(fault)(
        fault.problem, evidence=(*fault.evidence, *told), where=fault.where, hint=fault.hint
    )


def _named(pattern: re.Pattern[str], fault: Fault) -> list[str]:
    matches = (pattern.search(line) for line in fault.evidence)
    return [next(filter(None, match.groups())) for match in matches if match]


def _nearest(name: str, known: Iterable[str]) -> str:
    folded: dict[str, str] = {}
    for each in known:
        folded.setdefault(each.lower(), each)
    close = difflib.get_close_matches(name.lower(), folded, 3)
    if close:
        return f"did you mean {' or '.join(folded[each] for each in close)}?"
    return f"there are {', '.join(sorted(folded.values())[:20])}" if folded else "there are none"
