"""Why dnf ended badly: all that is wrong of one kind, at once, with what comes near a name that nobody knows.

dnf stops at the first group, repository or mirror that it cannot use. What it would have said of the others is asked for.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.distro import Wanted
from tasks.distro.complaints import explained
from tasks.distro.dnf import groups
from tasks.distro.dnf.talk import Listener
from tasks.distro.dnf.words import KNOWN, OF_REPOSITORY, SIGNATURES, UNKNOWN_GROUP, UNKNOWN_PACKAGE
from tasks.kit.fault import Fault

UNKNOWN_TO_5 = re.compile(r"No match for argument: (?!@)(.+)$")  # group or package, it does not say
# How dnf 4 is asked for groups, and lists them; and how dnf5, which has no -v.
GROUPS = (
    ((("group", "list", "-v", "--hidden"),), re.compile(r"^ {3}(?P<name>.+?) \((?P<id>\S+)\)$")),
    (groups.ALL, groups.LISTED),
)
PACKAGE = re.compile(r"^name=(\S+)$")
# rpm's words for a package, and dnf's for the whole.
NOT_INSTALLED = re.compile(r"(?:^error: |\[RPM\] )(\S+)-[^-]+-[^-]+: install (?:failed|skipped)")
FAILED_4, FAILED_5 = "Error: Transaction failed", "Transaction failed: Rpm transaction failed."
FILE = re.compile(r"[^\s/(\"]+\.rpm\b")
NOT_OK = re.compile(r": (?:BAD|NOKEY|NOTFOUND|NOTTRUSTED)\b")
NEAR = 3  # names that may be meant
THERE = 20  # names that all can be told, when nothing comes near


@dataclass(frozen=True)
class Asked:
    """What more can be asked. The answers are lines; there are none when nobody answers."""

    dnf: Callable[..., list[str]]  # with these arguments
    signatures: Callable[[Iterable[str]], list[str]]  # of packages, by the names of their files


def told(fault: Fault, listener: Listener, wanted: Wanted, asked: Asked) -> Fault | None:
    """What is wrong, in the words of the configuration; nothing when all that failed are scriptlets that may."""
    failed = listener.fault(allowed=wanted.yum.allow_failing)
    if failed:
        return failed
    said = [_of_group(line, wanted.groups) for line in listener.said]
    found = explained(fault, [*said, *_unheard(said, wanted, asked)], KNOWN)
    if found is fault and _excused(listener):
        return None
    more = (*_near(found.evidence, asked), *_signed(found.evidence, asked)) if found is not fault else ()
    where = fault.where.partition(" -- ")[2] or fault.where  # dnf itself, without the way in
    problem = found.problem.replace("nsenter ended", "dnf ended")
    evidence = (*found.evidence, *more)
    return type(found)(problem, evidence=evidence, where=where, hint=found.hint)


def _excused(listener: Listener) -> bool:
    """Whether the transaction failed for scripts, and for nothing else.

    dnf 4's does for those that keep their own packages out, dnf5's for any. What else is wrong, dnf5 says after that.
    """
    kept_out = {each.package for each in listener.failed if each.left_out}
    missing = {match[1] for line in listener.said if (match := NOT_INSTALLED.search(line))}
    ended = next((line for line in reversed(listener.said) if line), "")
    enough = kept_out if ended == FAILED_4 else listener.failed if ended == FAILED_5 else ()
    return missing <= kept_out and bool(enough)


def _of_group(line: str, groups: Iterable[str]) -> str:
    """dnf5 says of a group what it says of a package; here it gets its @."""
    unknown = UNKNOWN_TO_5.search(line)
    if unknown and unknown[1] in groups:
        return f"{line[: unknown.start(1)]}@{unknown[1]}"
    return line


def _unheard(said: list[str], wanted: Wanted, asked: Asked) -> list[str]:
    """What dnf would have gone on to say."""
    if _unknown_groups(said) and wanted.packages:
        return asked.dnf("-C", "--assumeno", "install", *wanted.packages)
    found = broken = _broken(said)
    heard: list[str] = []
    while found and len(broken) < len(wanted.repositories):
        lines = asked.dnf(*(f"--disablerepo={each}" for each in broken), "makecache")
        found = [each for each in _broken(lines) if each not in broken]
        broken, heard = [*broken, *found], [*heard, *lines]
    return heard


def _broken(lines: Iterable[str]) -> list[str]:
    """Repositories that cannot be used."""
    return [match[1] for line in lines if (match := re.search(OF_REPOSITORY, line))]


def _unknown_groups(lines: Iterable[str]) -> list[str]:
    return [match[1] or match[2] for line in lines if (match := UNKNOWN_GROUP.search(line))]


def _near(evidence: Iterable[str], asked: Asked) -> Iterator[str]:
    """What comes near each name that is unknown."""
    groups = _unknown_groups(evidence)
    packages = [match[1] for line in evidence if (match := UNKNOWN_PACKAGE.search(line))]
    if groups:
        known = next(filter(None, (_listed_groups(asked, *each) for each in GROUPS)), [])
        yield from (f"{each}: {nearest(each, known)}" for each in groups)
    if packages:
        lines = asked.dnf("-C", "repoquery", "--qf", "name=%{name}\n")
        known = [match[1] for line in lines if (match := PACKAGE.match(line))]
        yield from (f"{each}: {nearest(each, known)}" for each in packages)


def _listed_groups(
    asked: Asked, queries: Iterable[tuple[str, ...]], listed: re.Pattern[str]
) -> list[str]:
    """Names, and ids after them."""
    lines = [line for query in queries for line in asked.dnf("-C", *query)]
    matches = filter(None, map(listed.match, lines))
    return [match[which] for match in matches for which in ("name", "id")]


def nearest(name: str, known: Iterable[str]) -> str:
    folded: dict[str, str] = {}
    for each in known:
        folded.setdefault(each.lower(), each)
    close = difflib.get_close_matches(name.lower(), folded, NEAR)
    if close:
        return f"did you mean {' or '.join(folded[each] for each in close)}?"
    if len(folded) > THERE:
        return "nothing comes near"
    return f"there are {', '.join(sorted(folded.values()))}" if folded else "there are none"


def _signed(evidence: Iterable[str], asked: Asked) -> list[str]:
    """What rpm has against the signatures, by key and algorithm: dnf does not pass it on."""
    wrong = [line for line in evidence if any(each.pattern.search(line) for each in SIGNATURES)]
    files = [name for line in wrong for name in FILE.findall(line)]
    said: list[str] = []
    of = ""
    for line in asked.signatures(files) if files else ():
        of = Path(line).name if line.endswith(".rpm:") else of
        if NOT_OK.search(line):
            said.append(f"{of} {line.strip()}")
    # While something is wrong with the package itself, the key has not been looked at.
    return [line for line in said if ": BAD" in line] or said
