"""The machine's own apt sources as repositories: the mirror that an image takes when its configuration names none."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tasks.spec.source import AptRepository


def host_repositories(
    distribution: str, release: str, etc: Path = Path("/etc")
) -> tuple[AptRepository, ...]:
    """Every enabled binary source of `release` and its updates and security suites, in the order apt reads them.

    A host of the same distribution but of another release has mirrors that hold this one, too.
    """
    stanzas = list(_stanzas(etc / "apt"))
    found = tuple(_narrowed(stanzas, release))
    host = _os_release(etc / "os-release")
    if found or host.get("ID") != distribution:
        return found
    own = host.get("VERSION_CODENAME", "")
    return tuple(
        each.model_copy(update={"suites": tuple(suite.replace(own, release) for suite in each.suites)})
        for each in _narrowed(stanzas, own)
    )


def _os_release(path: Path) -> dict[str, str]:
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {name: value.strip("\"'") for name, value in pairs}


def _stanzas(etc_apt: Path) -> Iterator[dict[str, str]]:
    lists = [etc_apt / "sources.list", *sorted(etc_apt.glob("sources.list.d/*"))]
    for path in lists:
        if path.suffix == ".sources":
            yield from _deb822(path.read_text(errors="replace"))
        elif path.suffix == ".list" and path.is_file():
            yield from _one_line(path.read_text(errors="replace"))


def _deb822(text: str) -> Iterator[dict[str, str]]:
    for stanza in re.split(r"\n\s*\n", text):
        lines = [line for line in stanza.splitlines() if not line.startswith("#")]
        folded = re.sub(r"\n[ \t]+", " ", "\n".join(lines))
        fields = dict(line.split(":", 1) for line in folded.splitlines() if ":" in line)
        fields = {name.strip().lower(): value.strip() for name, value in fields.items()}
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes") != "no":
            yield fields


def _one_line(text: str) -> Iterator[dict[str, str]]:
    for line in text.splitlines():
        match = re.fullmatch(
            r"deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<rest>[^#]*).*", line
        )
        if match:
            options = dict(
                item.split("=", 1) for item in (match["options"] or "").split() if "=" in item
            )
            yield {
                "uris": match["uri"],
                "suites": match["suite"],
                "components": match["rest"].strip(),
                "signed-by": options.get("signed-by", ""),
            }


def _narrowed(stanzas: Iterable[dict[str, str]], release: str) -> Iterator[AptRepository]:
    wanted = (release, f"{release}-updates", f"{release}-security")
    for fields in stanzas:
        suites = tuple(suite for suite in fields.get("suites", "").split() if suite in wanted)
        for uri in fields.get("uris", "").split() if suites else ():
            yield AptRepository(
                uri=uri,
                suites=suites,
                components=tuple(fields.get("components", "").split()) or ("main",),
                signed_by=fields.get("signed-by") or None,
            )
