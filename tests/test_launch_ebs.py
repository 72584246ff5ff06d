"""From a snapshot to a machine that runs, on the local cloud: what the stage `ami` registered is what `launch` starts; and
what no type can run is refused before.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks import ami, launch
from tasks.cloud import instances
from tasks.cloud.clients import connect
from tasks.kit.fault import CloudFault
from tasks.spec.ami import Volume
from tasks.spec.launch import Launch
from tasks.spec.record import InstanceReceipt
from tests import bootsector, clouds, test_ami_ebs
from tests.cloud.local.test_machines import wait
from tests.localcloud import LocalCloud
from tests.test_launch import Noting

BIOS: dict[str, Any] = {"boot_mode": "legacy-bios", "firmwares": ("bios",)}


class World(test_ami_ebs.Shelf):
    """A local cloud with a system that boots in a second, in a snapshot of ours."""

    def __init__(self, at: Path, cloud: LocalCloud) -> None:
        cloud.announce()
        super().__init__(at, cloud.home, cloud)
        self.ec2 = connect(clouds.LOCAL, cloud.home).ec2()
        self.of(bootsector.snapshot(self.ebs, bootsector.sector()))
        labels: Any = test_ami_ebs.labels()
        self.ec2.create_tags(Resources=[self.snapshot], Tags=labels)

    def launch(self, kind: str, **more: Any) -> InstanceReceipt:
        """Of the image that was registered. It has no SSH server, and nobody opened a port."""
        told: dict[str, Any] = {
            "image": "debian-12",
            "cloud": clouds.LOCAL,
            "rules": (),
            "launch": Launch(timeout=120),
            "type": kind,
            "user": "root",
            "key_from": "image",
            "era": "2008",
        }
        launch.body(
            launch.Order(**{**told, **more}),
            report=Noting(),
            ami=self.at / "ami.json",
            public_key=self.at / "ssh_key.pub",
            private_key=self.at / "ssh_key",
            receipt=self.at / "instance.json",
            launching=self.at / "launching.json",
            hosts=self.at / "known_hosts",
            home=self.home,
            count=0,
            kind="",
            keep=False,
        )
        return InstanceReceipt.read(self.at / "instance.json")

    def console(self, instance: str) -> str:
        return str(self.ec2.get_console_output(InstanceId=instance).get("Output", ""))


@pytest.fixture
def world(tmp_path: Path, localcloud: LocalCloud) -> Iterator[World]:
    made = World(tmp_path, localcloud)
    yield made
    if left := [instances.id_of(each) for each in instances.ours(made.ec2)]:
        instances.end(made.ec2, left)


def order(**more: Any) -> ami.Order:
    return test_ami_ebs.order(**more)


@pytest.mark.parametrize("kind", ["t2.micro", "t3.micro"])
def test_what_was_registered_boots_on_xen_and_on_nitro(world, kind):
    """From the snapshot's own blocks, with the volumes that the image names, and tags on instance and volumes."""
    empty = Volume.model_validate({"size": "1 GiB"})
    world.register(order(**BIOS, volumes={"/dev/sdf": empty}))
    (one,) = world.launch(kind).instances
    wait(lambda: bootsector.SAID.search(world.console(one.id)), "it says nothing")
    (found,) = instances.by_ids(world.ec2, [one.id])
    assert found["InstanceType"] == kind
    assert found["RootDeviceName"] == "/dev/xvda"
    assert {each["DeviceName"] for each in found["BlockDeviceMappings"]} == {"/dev/xvda", "/dev/sdf"}
    assert {"Key": "doit-ami:image", "Value": "debian-12"} in found["Tags"]


@pytest.mark.parametrize(
    ("registered", "kind", "said"),
    [
        ({**BIOS}, "t4g.micro", "architecture is x86_64, and t4g.micro has arm64"),
        ({"boot_mode": "uefi", "firmwares": ("uefi",)}, "t2.micro", "boot mode is uefi, and t2.micro has legacy-bios"),
        ({**BIOS, "ena": False}, "t3.micro", "its network is ENA's, for which the image is not registered"),
        (
            {"boot_mode": "uefi", "firmwares": ("uefi",), "tpm": True},
            "t2.micro",
            "2 things are in the way",
        ),
        ({**BIOS}, "t3.nano", "there is no instance type t3.nano"),
    ],
)  # fmt: skip
def test_what_a_type_cannot_run_is_refused_before_anything_is_started(world, registered, kind, said):
    """In our words, before EC2's; and with a type that can."""
    world.register(order(**registered))
    with pytest.raises(CloudFault, match=said) as caught:
        world.launch(kind)
    assert "--type=t3.micro" in caught.value.hint
    assert instances.ours(world.ec2) == []
