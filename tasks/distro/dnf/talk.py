"""What dnf prints while it works, dnf 4 and dnf5: progress, what groups lack, scriptlets that failed and what they said."""

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatch

from tasks.distro.complaints import listed
from tasks.kit.fault import Fault, ToolFault
from tasks.kit.report import Report

REMEMBERED = 40  # lines that a failed scriptlet may have printed
DOWNLOAD = re.compile(r"^\((\d+)/(\d+)\): ")
STEP = re.compile(r"^  [A-Z][a-z]+(?: [a-z]+)* *: \S* *(\d+)/(\d+)$")
# dnf5 draws both alike: what it is at, only a line of its own tells.
STEP_OF_5 = re.compile(r"^ *\[ *(\d+)/(\d+)\] (?!Total)")
INSTALLING = "Running transaction"
RUNS = re.compile(r"^>>> (?:Running|Finished) \S+ scriptlet: ")
# rpm's own words: its name of the script, and of the package.
OF_PACKAGE = r"%(\w+)\((.+)-[^-]+-[^-]+\)"
FAILED = re.compile(rf"{OF_PACKAGE} scriptlet failed, (exit status \d+|signal \d+)")
FAILED_LUA = re.compile(rf"lua script failed: \[string \"{OF_PACKAGE}\"\]:(\d+: .*)")
# dnf repeats them, mostly, and ends with 0 unless the package was not installed.
FAILED_SAYS_4 = re.compile(r"^Error in (\S+) scriptlet in rpm package (\S+)$")
FAILED_SAYS_5 = re.compile(r"^>>> (?:Error|Non-critical error) in %?(\S+) scriptlet: (.+)-[^-]+-[^- ]+")
# dnf 4's name of a trigger, which it puts down to the package that set it off.
TRIGGER = "<unknown>"
DNF5S_OWN = re.compile(r"^>>> ?(?:\[RPM\] |Scriptlet output:)?")
# Of a group's members; dnf goes on without them, as yum did, and so do we: real groups name such.
MISSING = re.compile(r'^No match for group (?:package|from environment):? "?([^"\s]+)"?')
# rpm's, where a package comes before the one that makes its owner.
OWNERLESS = re.compile(r"((?:user|group) \S+) does not exist - using root$")
LEAVES_OUT = ("pre", "prein", "pretrans")  # scripts without whose success a package is not installed


@dataclass(frozen=True)
class Failed:
    """A package's script that ended badly, with what it printed."""

    package: str
    script: str
    how: str
    output: tuple[str, ...]

    @property
    def told(self) -> str:
        return f"%{self.script} of {self.package}" + (f" ({self.how})" if self.how else "")

    @property
    def left_out(self) -> bool:
        return self.script in LEAVES_OUT

    def allowed(self, globs: Iterable[str]) -> bool:
        return any(fnmatch(self.package, glob) for glob in globs)


@dataclass
class Listener:
    """Takes dnf's output line by line."""

    report: Report
    said: list[str] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    notes: set[str] = field(default_factory=set)
    unit: str = "packages"
    fresh: bool = False  # the last script that failed is the one at which dnf is

    def __call__(self, line: str) -> None:
        self.said.append(line)
        self.unit = "steps" if line == INSTALLING else self.unit
        self._note(line)
        if fetched := DOWNLOAD.match(line):
            self.report.moved(int(fetched[1]), int(fetched[2]), "packages")
        elif step := STEP.match(line) or STEP_OF_5.match(line):
            self.report.moved(int(step[1]), int(step[2]), self.unit)
            self._begin()
        elif RUNS.match(line):
            self._begin()
        elif failed := FAILED.search(line) or FAILED_LUA.search(line):
            self._fails(failed[2], failed[1], failed[3], line)
        elif failed := FAILED_SAYS_4.match(line) or FAILED_SAYS_5.match(line):
            self._fails(failed[2], failed[1].lower(), "", line)
        else:
            self.recent.append(line)

    def _note(self, line: str) -> None:
        """What fails nothing, and ought to be known: once each."""
        if missing := MISSING.match(line):
            note = f"a group names {missing[1]}, which no repository has"
        elif owner := OWNERLESS.search(line):
            note = f"{owner[1]} was not there when its files came: they are root's"
        else:
            return
        if note not in self.notes:
            self.notes.add(note)
            self.report.noted(note)

    def _begin(self) -> None:
        self.recent.clear()
        self.fresh = False

    def _fails(self, package: str, script: str, how: str, line: str) -> None:
        """Told of by rpm, by dnf, or by both, in either order: rpm says more."""
        again = self.fresh and (self.failed[-1].package == package or script == TRIGGER)
        if again and not how:
            return
        if again:
            self.failed.pop()
        output = (DNF5S_OWN.sub("", each).strip() for each in (*self.recent, line))
        self.failed.append(Failed(package, script, how, tuple(filter(None, output))))
        self.fresh = True

    def fault(self, *, allowed: Iterable[str] = ()) -> Fault | None:
        """What to say of scriptlets that failed, if any did that may not."""
        globs = tuple(allowed)
        failed = [each for each in self.failed if not each.allowed(globs)]
        if not failed:
            return None
        names = ", ".join(dict.fromkeys((*globs, *(each.package for each in failed))))
        without = any(each.left_out for each in failed)
        return ToolFault(
            f"{len(failed)} scriptlet(s) failed: {listed(each.told for each in failed)}",
            evidence=[line for each in failed for line in each.output],
            hint=f"mend the package, or let its scripts fail: yum: {{allow_failing: [{names}]}}"
            + ("; one whose %pre fails is left out" if without else ""),
        )
