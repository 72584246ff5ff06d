"""Where packages come from: the repositories of either family, and the settings of its package manager."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from tasks.spec.part import Part

AptDistribution = Literal["debian", "ubuntu"]
RpmDistribution = Literal["centos", "centos-stream", "rocky", "almalinux", "fedora", "amazon"]
Distribution = Literal[AptDistribution, RpmDistribution]
# The first and the last release that images are made of. Between System V's init and a systemd whose sshd reads
# sshd_config.d lie some that would come up neither way.
RELEASES: Mapping[RpmDistribution, tuple[int, int | None]] = {
    "centos": (3, 6),
    "centos-stream": (9, None),
    "rocky": (9, None),
    "almalinux": (9, None),
    "fedora": (40, None),
    "amazon": (2023, None),
}

Url = Annotated[str, Field(pattern=r"^(https?|ftp|file)://?\S+$")]
Glob = Annotated[
    str, Field(pattern=r"^[!-~]+$", description="a package's name; * and ? stand for others")
]
Group = Annotated[str, Field(pattern=r"^[!-~][ -~]*$", description="its id or its name")]
# One of something may be written without brackets.
ONE_OR_MORE = WithJsonSchema(
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}, mode="validation"
)
Urls = Annotated[
    tuple[Url, ...],
    BeforeValidator(lambda urls: (urls,) if isinstance(urls, str) else urls),
    ONE_OR_MORE,
]
Keys = Annotated[
    tuple[Annotated[str, Field(pattern=r"^\S+$")], ...],
    BeforeValidator(lambda keys: (keys,) if isinstance(keys, str) else keys),
    ONE_OR_MORE,
]


def release_trouble(distribution: RpmDistribution, release: str) -> str:
    """Why no image can be made of a release, or nothing."""
    first, last = RELEASES[distribution]
    known = f"{first} to {last}" if last else f"{first} and later"
    major = release.partition(".")[0]
    if not major.isdecimal():
        return f"is no release of {distribution}; write a number: {known}"
    if int(major) < first or (last and int(major) > last):
        return f"is a release of {distribution} that no image is made of; there are {known}"
    return ""


class AptRepository(Part):
    """One stanza of an apt sources file."""

    uri: str = Field(pattern=r"^(https?|file|copy|mirror\+https?)://?\S+$")
    suites: tuple[str, ...] = Field(min_length=1)
    components: tuple[str, ...] = ("main",)
    signed_by: str | None = Field(None, description="the keyring, a path on this machine")

    @property
    def public_uri(self) -> str:
        """Without user and password: what may stand in an image."""
        return re.sub(r"(?<=://)[^/@]*@", "", self.uri)

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.uri,)


class YumRepository(Part):
    """One section of a yum.conf."""

    id: str = Field(pattern=r"^[A-Za-z0-9_.:-]+$")
    name: str = Field("", pattern=r"^[ -~]*$", description="for people; default: the id")
    baseurl: Urls = Field((), description="in the order they are tried")
    mirrorlist: Url | None = None
    metalink: Url | None = None
    gpgcheck: bool = Field(True, description="refuse a package that none of the keys has signed")
    repo_gpgcheck: bool = Field(False, description="and metadata likewise")
    gpgkey: Keys = Field((), description="public keys: paths from the project's folder, or URLs")
    exclude: tuple[Glob, ...] = ()
    priority: int | None = Field(None, ge=1, le=99, description="the smaller goes before the larger")
    protect: bool = Field(False, description="no other repository replaces what this one has")
    proxy: Url | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        given = [key for key in ("baseurl", "mirrorlist", "metalink") if getattr(self, key)]
        if len(given) != 1:
            raise ValueError(
                f"give one of baseurl, mirrorlist and metalink, not {' and '.join(given) or 'none'}"
            )
        if (self.gpgcheck or self.repo_gpgcheck) and not self.gpgkey:
            raise ValueError(
                "gpgkey: is missing; packages are checked against it unless you write `gpgcheck: false`"
            )
        if self.protect and self.priority is not None:
            raise ValueError(
                "protect, priority: the first is a priority before all others; write one of them"
            )
        return self

    @property
    def addresses(self) -> tuple[str, ...]:
        """What may be asked whether it answers."""
        return tuple(url for url in (*self.baseurl, self.mirrorlist, self.metalink) if url)


class Yum(Part):
    """The [main] of a yum.conf, as far as it is a matter of taste."""

    debuglevel: int = Field(2, ge=0, le=10)
    logfile: str = Field("/var/log/yum.log", pattern=r"^/\S+$")
    exclude: tuple[Glob, ...] = Field((), description="packages that no repository may bring")
    obsoletes: bool = True
    weak_deps: bool = Field(False, description="install what is merely recommended, too")
    docs: bool = Field(True, description="install documentation")
    proxy: Url | None = None
    allow_failing: tuple[Glob, ...] = Field((), description="packages whose scriptlets may fail")
