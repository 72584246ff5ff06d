"""Packages come from real mirrors; what a mirror refuses is told in the words of the configuration."""

import pytest

from tasks import rootfs
from tasks.kit.fault import ConfigFault, HostFault
from tasks.spec.record import RootfsStamp
from tasks.spec.source import AptRepository
from tests import projects, stages


@pytest.fixture
def wanted(tmp_path, monkeypatch):
    """An order that would succeed, but for what a test changes in it."""
    monkeypatch.chdir(tmp_path)  # and back, when the test is over
    loaded = stages.loaded(projects.copy(tmp_path / "project"))
    return rootfs.Order.of(stages.image(loaded), loaded.epoch)


def refused(order: rootfs.Order, kind: type[Exception], said: str) -> None:
    at = stages.shelf()
    with pytest.raises(kind, match=said):
        stages.make_rootfs(order, at)
    assert [path.name for path in at.here.iterdir()] == ["log"], "nothing half made is left"


def test_an_unknown_package_is_named(wanted):
    """By a real mirror."""
    refused(
        wanted.model_copy(update={"packages": ("no-such-package",)}),
        ConfigFault,
        "no mirror has a package no-such-package",
    )


def test_a_mirror_that_does_not_answer_is_named(wanted):
    """With the address that was tried."""
    dead = AptRepository(uri="http://127.0.0.1:9/debian", suites=("bookworm",))
    refused(
        wanted.model_copy(update={"repositories": (dead,)}),
        HostFault,
        "the mirror did not give http://127.0.0.1:9/debian",
    )


def test_a_mirror_signed_by_a_stranger_is_refused(wanted, tmp_path):
    """A keyring that does not hold the mirror's key."""
    (tmp_path / "empty.gpg").write_bytes(b"")
    mistrusted = tuple(
        each.model_copy(update={"signed_by": str(tmp_path / "empty.gpg")})
        for each in wanted.repositories
    )
    refused(wanted.model_copy(update={"repositories": mistrusted}), Exception, "sign")


def test_the_stamp_records_every_package(built):
    """With version and architecture, as dpkg has them."""
    stamp = RootfsStamp.read(built.build / "debian-12/rootfs.stamp")
    stamp.file.check(built.build / "debian-12/rootfs.tar")
    found = {each.name: each for each in stamp.packages}
    assert {"openssh-server", "systemd", "linux-image-cloud-amd64", "libc6"} <= set(found)
    assert found["libc6"].version.startswith("2.36-")
    assert found["libc6"].architecture == "amd64"
