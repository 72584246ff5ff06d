"""What package managers say, in the words of somebody who wrote an image's configuration."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

from tasks.kit.fault import Fault

NAMED = 5  # things that one sentence can name
QUOTED = 20  # lines that a fault quotes


@dataclass(frozen=True)
class Complaint:
    """A line that a program prints, and what it means: `{0}` and so on are the pattern's groups, of every such line."""

    pattern: re.Pattern[str]
    kind: type[Fault]
    meaning: str
    hint: str = ""  # instead of the place of the whole output
    topic: str = ""  # complaints of one topic are told together
    because: re.Pattern[str] | None = None  # lines that say more of it


def explained(fault: Fault, said: Iterable[str], known: Iterable[Complaint]) -> Fault:
    """The same fault in the user's words: the first complaint of `known` that was said, with all others of its topic.

    Every line that says so, or why, is evidence.
    """
    lines = tuple(dict.fromkeys(said))
    matches = {each: tuple(filter(None, map(each.pattern.search, lines))) for each in known}
    found = [each for each in matches if matches[each]]
    if not found:
        return fault
    told = [each for each in found if each is found[0] or each.topic == found[0].topic != ""]
    patterns = [pattern for each in told for pattern in (each.pattern, each.because) if pattern]
    evidence = [line.strip() for line in lines if any(each.search(line) for each in patterns)]
    return told[0].kind(
        "; ".join(each.meaning.format(*_listed(matches[each])) for each in told),
        evidence=shortened(evidence),
        where=fault.where,
        hint="; ".join(dict.fromkeys(each.hint for each in told if each.hint)) or fault.hint,
    )


def _listed(matches: Iterable[re.Match[str]]) -> list[str]:
    """Each group, of all matches: those that took no part in one are left out."""
    rows = [tuple(filter(None, match.groups())) for match in matches]
    return [listed(filter(None, column)) for column in zip_longest(*rows)]


def listed(names: Iterable[str]) -> str:
    """Each once, in order, a few of them."""
    unique = list(dict.fromkeys(names))
    more = len(unique) - NAMED
    return ", ".join(unique[:NAMED]) + (f" and {more} more" if more > 0 else "")


def shortened(lines: Iterable[str]) -> list[str]:
    """Each once, in order, as many as can be read."""
    unique = list(dict.fromkeys(lines))
    more = len(unique) - QUOTED
    return unique[:QUOTED] + ([f"and {more} more lines"] if more > 0 else [])
