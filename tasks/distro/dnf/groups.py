"""Groups and environments by their ids: dnf5 knows them by nothing else, where yum and dnf 4 took their names as well."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

# What to tell dnf5, so that it lists them.
ALL = (("group", "list", "--hidden"), ("-C", "environment", "list"))
LISTED = re.compile(r"^(?P<id>\S+) +(?P<name>\S.*?) +(?:yes|no)$")


def ids(wanted: Iterable[str], listed: Iterable[str]) -> tuple[str, ...]:
    """Of every group that is meant, in the words of dnf 4: by id or name, in large letters or small, with * and ?.

    `listed` is what dnf5 says of all there are. What is unknown stays as it was written.
    """
    known = [match.groups() for line in listed if (match := LISTED.match(line))]
    found: list[str] = []
    for each in wanted:
        found += [pair[0] for pair in known if any(_is(name, each) for name in pair)] or [each]
    return tuple(dict.fromkeys(found))


def _is(name: str, wanted: str) -> bool:
    return fnmatchcase(name.lower(), wanted.lower())
