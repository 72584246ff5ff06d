"""What dnf is told of a release, and what releases differ in."""

BASEARCH = {"i386": "i386", "x86_64": "x86_64", "arm64": "aarch64"}


def is_sysv(name: str, release: str) -> bool:
    """Whether its init is System V's: CentOS before 7."""
    return name == "centos" and int(release.partition(".")[0]) < 7  # noqa: PLR2004 - a release, as they are called
