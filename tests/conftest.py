"""What the slow tests share: one Debian, built once from the real mirror, that each of them may copy but none may change."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import projects
from tests.clouds import cloud, credentials, fresh, home, shared
from tests.localcloud import localcloud
from tests.motos import account, moto, policed
from tests.projects import Project
from tests.rpmworld import el4_shape, rpm_distribution
from tests.sshds import sshd_program

# Fixtures that several files of tests share.
__all__ = [
    "account",
    "cloud",
    "credentials",
    "el4_shape",
    "fresh",
    "home",
    "localcloud",
    "moto",
    "policed",
    "rpm_distribution",
    "shared",
    "sshd_program",
]


@pytest.fixture(scope="session")
def space() -> Iterator[Path]:
    """A folder that ordinary users can enter, as they cannot pytest's own."""
    with tempfile.TemporaryDirectory(prefix="doit-ami-") as path:
        os.chmod(path, 0o755)  # noqa: PTH101, S103 - so that an ordinary user may build in it
        yield Path(path)


@pytest.fixture(scope="session")
def built(space: Path) -> Iterator[Project]:
    """The image of config/site.yaml, from packages to an AMI on the local cloud. To be read, or cloned."""
    project = projects.copy(space / "built")
    project.said = project.doit()
    yield project
    project.doit("local_stop")


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Iterator[Project]:
    """The built project, and its local cloud, which is another one from now on."""
    made = projects.clone(built, tmp_path / "project")
    yield made
    made.doit("local_stop")
