"""What package managers say, in the words of somebody who wrote an image's configuration."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tasks.kit.fault import Fault


@dataclass(frozen=True)
class Complaint:
    """A line that a program prints, and what it means: `{0}` and so on are the pattern's groups."""

    pattern: re.Pattern[str]
    kind: type[Fault]
    meaning: str
    hint: str = ""  # instead of the place of the whole output


def explained(fault: Fault, said: Iterable[str], known: Iterable[Complaint]) -> Fault:
    """The same fault in the user's words: the first complaint of `known` that was said, every line of it as evidence."""
    lines = tuple(said)
    for complaint in known:
        matches = [match for match in map(complaint.pattern.search, lines) if match]
        if matches:
            return complaint.kind(
                complaint.meaning.format(*matches[0].groups()),
                evidence=tuple(dict.fromkeys(match.string.strip() for match in matches)),
                where=fault.where,
                hint=complaint.hint or fault.hint,
            )
    return fault
