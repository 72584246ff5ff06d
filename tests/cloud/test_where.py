"""Which instance is meant, and where it is."""

import pytest

from tasks.cloud import local, where
from tasks.kit.fault import CloudFault
from tests.cloud.test_instances import run
from tests.clouds import LOCAL, elsewhere


@pytest.mark.parametrize(
    ("ids", "instance", "name"),
    [(["i-1"], "", "i-1"), (["i-1", "i-2"], "i-2", "i-2")],
)
def test_the_only_one_is_meant_and_the_one_that_is_named(ids, instance, name):
    assert where.meant("debian-12", ids, instance) == name


@pytest.mark.parametrize(
    ("ids", "instance", "said"),
    [
        ([], "", r"no instance of debian-12 runs.*doit launch:debian-12"),
        (["i-2", "i-1"], "", r"2 instances of debian-12 run.*i-1.*i-2.*--instance=i-1"),
        (["i-1"], "i-3", r"i-3 is no instance of debian-12 that runs.*--instance=i-1"),
    ],
)
def test_what_is_not_clear_is_asked_for(ids, instance, said):
    with pytest.raises(CloudFault, match=f"(?s){said}"):
        where.meant("debian-12", ids, instance)


def test_the_cloud_knows_what_runs_by_its_tags(account, moto, tmp_path):
    """Wherever it was launched from."""
    one, two = run(account.ec2(), count=2)
    run(account.ec2(), "debian-13")
    assert set(where.running_ids(elsewhere(moto), "debian-12", tmp_path)) == {one, two}


def test_an_instance_as_it_is_now(account, moto, tmp_path):
    """One that ended is told, and what to type."""
    (one,) = run(account.ec2())
    now = where.current(elsewhere(moto), "debian-12", one, tmp_path)
    assert now.id == one
    assert (now.address.count("."), now.port, now.host_keys) == (3, 22, ())
    account.ec2().terminate_instances(InstanceIds=[one])
    with pytest.raises(CloudFault, match=rf"(?s){one} is terminated.*doit launch:debian-12"):
        where.current(elsewhere(moto), "debian-12", one, tmp_path)
    with pytest.raises(CloudFault, match="i-00000000000000000 is gone"):
        where.current(elsewhere(moto), "debian-12", "i-00000000000000000", tmp_path)


def test_to_look_makes_no_local_cloud(tmp_path):
    assert where.running_ids(LOCAL, "debian-12", tmp_path / "home") == []
    assert not local.exists(tmp_path / "home")
