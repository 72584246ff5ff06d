"""What the slow tests share: one Debian, built once from the real mirror, that each of them may copy but none may change."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import projects
from tests.clouds import cloud, credentials, fresh, home, shared
from tests.localcloud import localcloud
from tests.motos import account, moto, policed
from tests.projects import Project
from tests.rpmworld import el4_shape, rpm_distribution
from tests.sidebyside import once
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


SPACE = "DOIT_AMI_TESTS_SPACE"  # in the environment: those who test side by side inherit it


# How long an example takes says nothing on a machine that is busy.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


def pytest_configure() -> None:
    if SPACE not in os.environ:
        os.environ[SPACE] = tempfile.mkdtemp(prefix="doit-ami-")
        os.chmod(os.environ[SPACE], 0o755)  # noqa: PTH101, S103 - so that an ordinary user may build in it


# They take minutes each: begun last, they would be waited for alone.
LONGEST = (
    "test_whole",
    "test_launched",
    "test_rpm",
    "test_kernel",
    "test_boot",
    "test_killed",
    "test_mirror",
    "test_blocks",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last one out, who was also the first one in, takes it away."""
    if not hasattr(config, "workerinput"):
        space = Path(os.environ.pop(SPACE))
        if (space / "built").exists():
            Project(space / "built").doit("local_stop")
        shutil.rmtree(space)


@pytest.fixture(scope="session")
def space() -> Path:
    """A folder that ordinary users can enter, as they cannot pytest's own; one for all who test side by side."""
    return Path(os.environ[SPACE])


@pytest.fixture(scope="session")
def built(space: Path) -> Project:
    """The image of config/site.yaml, from packages to an AMI on the local cloud. To be read, or cloned."""

    def make() -> Project:
        project = projects.copy(space / "built")
        project.said = project.doit()
        return project

    return once(space, "built", make)


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Iterator[Project]:
    """The built project, and its local cloud, which is another one from now on."""
    made = projects.clone(built, tmp_path / "project")
    yield made
    made.doit("local_stop")
