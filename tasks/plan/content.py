"""What is laid over the root file system: rendered templates, the configuration's files, the key. Values in, a tar out."""

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from tasks.kit.fault import ConfigFault

if TYPE_CHECKING:
    import tarfile


@dataclass(frozen=True)
class Laid:
    """A template, and where in the image its text goes."""

    path: str
    template: str
    mode: int = 0o644
    append: bool = False  # to the file that a package brings


@dataclass(frozen=True)
class Entry:
    """A file of the image, or a folder when it has no data."""

    path: str
    data: bytes | None
    mode: int = 0o644
    owner: int = 0
    group: int = 0
    append: bool = False  # the data, to a file that is there


def rendered(name: str, text: str, values: Mapping[str, Any]) -> str:
    """Raises ConfigFault with the template's name and line when it does not render; an unknown name is no empty text."""
    from jinja2 import Environment, StrictUndefined, TemplateError

    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - configuration files and scripts: HTML's escapes would damage them
    )
    try:
        return environment.from_string(text).render(values)
    except TemplateError as error:
        line = getattr(error, "lineno", None) or _line_of(error)
        at = f":{line}" if line else ""
        raise ConfigFault(
            f"template {name} does not render: {error.message}", where=f"templates/{name}{at}"
        ) from error


def _line_of(error: BaseException) -> int | None:
    """The template's line, from the traceback that jinja2 rewrites to it."""
    found, step = None, error.__traceback__
    while step:
        if step.tb_frame.f_code.co_filename == "<template>":
            found = step.tb_lineno
        step = step.tb_next
    return found


def overlay(entries: Iterable[Entry], *, epoch: int) -> bytes:
    """A tar of the entries but what is appended: sorted, numeric owners, every time the epoch.

    The later of two entries for a path wins.
    """
    import tarfile

    chosen = {entry.path: entry for entry in entries if not entry.append}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(chosen):
            member = _member(chosen[path], epoch)
            archive.addfile(member, io.BytesIO(chosen[path].data or b""))
    return buffer.getvalue()


def _member(entry: Entry, epoch: int) -> "tarfile.TarInfo":
    import tarfile

    member = tarfile.TarInfo(str(PurePosixPath(entry.path).relative_to("/")))
    member.type = tarfile.DIRTYPE if entry.data is None else tarfile.REGTYPE
    member.size = len(entry.data or b"")
    member.mode, member.uid, member.gid, member.mtime = entry.mode, entry.owner, entry.group, epoch
    return member


def authorized(path: str, keys: Iterable[str], *, mode: int) -> Iterator[Entry]:
    """The keys that may log in, in a folder that sshd's strict modes accept."""
    yield Entry(str(PurePosixPath(path).parent), None, mode=0o700)
    yield Entry(path, "".join(f"{key.strip()}\n" for key in keys).encode(), mode=mode)
