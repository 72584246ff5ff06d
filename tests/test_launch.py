"""The stage `launch`: instances that were reached, as many as wanted, whatever happens on the way. Against moto's EC2, whose
addresses and consoles are invented: both are ours here, and so is what it forgets of an image.
"""

import base64
import re
import subprocess
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks import launch
from tasks.cloud import arrival, ec2, instances, tags
from tasks.cloud.clients import Cloud
from tasks.kit.fault import CloudFault, ConfigFault, Fault, ImageFault
from tasks.spec.cloud import Rule
from tasks.spec.launch import Launch
from tasks.spec.load import load
from tasks.spec.record import AmiReceipt, InstanceReceipt
from tests import proofs
from tests.clouds import Heard, elsewhere
from tests.plan.test_login import CONSOLE, KEYS
from tests.projects import ROOT
from tests.sshds import greeting

AT = datetime(2026, 11, 23, tzinfo=UTC)
OPEN = Rule.model_validate({"ports": 22, "cidr": "127.0.0.1/32"})
# What AWS says of an image that was registered so; moto says other things, and forgets these.
REGISTERED = {
    "Architecture": "x86_64",
    "RootDeviceType": "instance-store",
    "VirtualizationType": "paravirtual",
}


class Killed(BaseException):
    """What no one catches."""


class Noting(Heard):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def noted(self, text: str) -> None:
        self.notes.append(text)


class World:
    """An account with an image of ours in it, and the stage's paths."""

    def __init__(self, at: Path, cloud: Cloud, url: str) -> None:
        self.at, self.cloud, self.url, self.client = at, cloud, url, cloud.ec2()
        self.report, self.port = Noting(), 0
        subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", at / "ssh_key"], check=True)
        self.ami = self.client.register_image(Name="debian-12", ImageLocation="b/k")["ImageId"]
        self.tag(image="debian-12", digest="d")
        AmiReceipt(
            account=cloud.account, region=cloud.region, sha256="s", cloud_id="", at=AT,
            id=self.ami, name="n", digest="d", location="b/k", boot=proofs.report(),
        ).write(at / "ami.json")  # fmt: skip

    def tag(self, **labels: str) -> None:
        told = tags.listed({f"doit-ami:{key}": value for key, value in labels.items()})
        self.client.create_tags(Resources=[self.ami], Tags=told)

    def order(self, **more: Any) -> launch.Order:
        told: dict[str, Any] = {
            "image": "debian-12",
            "cloud": elsewhere(self.url),
            "rules": (OPEN,),
            "launch": Launch(),
            "type": "m1.small",
            "user": "root",
            "key_from": "image",
            "era": "today",
        }
        return launch.Order(**{**told, **more})

    def launch(self, order: launch.Order | None = None, **params: Any) -> InstanceReceipt:
        given: dict[str, Any] = {"count": 0, "kind": "", "keep": False, **params}
        launch.body(
            order or self.order(),
            report=self.report,
            ami=self.at / "ami.json",
            public_key=self.at / "ssh_key.pub",
            private_key=self.at / "ssh_key",
            receipt=self.at / "instance.json",
            launching=self.at / "launching.json",
            hosts=self.at / "known_hosts",
            home=self.at / "home",
            **given,
        )
        return InstanceReceipt.read(self.at / "instance.json")

    def states(self) -> list[str]:
        return sorted(instances.state_of(each) for each in instances.ours(self.client))

    def said(self, name: str) -> Any:
        return instances.by_ids(self.client, [name])[0]


@pytest.fixture
def world(account, moto, tmp_path, monkeypatch):
    """Instances greet, and show their keys."""
    real = ec2.by_id
    monkeypatch.setattr(
        ec2, "by_id", lambda *asked: (found := real(*asked)) and {**found, "BootMode": "", **REGISTERED}
    )
    monkeypatch.setattr(instances, "console", lambda *_, **__: CONSOLE)
    monkeypatch.setattr(instances, "PAUSE", 0.01)
    with ExitStack() as stack:
        port = stack.enter_context(greeting())
        monkeypatch.setattr(instances, "reached", lambda *_: ("127.0.0.1", port))
        world = World(tmp_path, account, moto)
        world.port = port
        yield world


@pytest.fixture
def mute(world, monkeypatch):
    """Instances run, and nothing answers there."""
    monkeypatch.setattr(instances, "reached", lambda *_: ("127.0.0.1", 1))
    return world


def test_an_instance_is_started_reached_and_announced(world, capsys):
    """With all that the next stages need, and what a person types next."""
    proof = world.launch()
    (one,) = proof.instances
    assert (one.address, one.port, one.host_keys) == ("127.0.0.1", world.port, KEYS)
    assert (proof.ami, proof.sha256, proof.account) == (world.ami, "s", world.cloud.account)
    assert (world.at / "known_hosts").read_text() == f"{one.id} {KEYS[0]}\n{one.id} {KEYS[1]}\n"
    assert not (world.at / "launching.json").exists()
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [f"{one.id} is up at 127.0.0.1 port {world.port}", "    doit ssh:debian-12"]
    assert said[2].startswith(f"    ssh -F none -i {world.at}/ssh_key ")
    assert f"-oHostKeyAlias={one.id}" in said[2]
    assert world.report.notes == ["opened: tcp 22 of default to 127.0.0.1/32"]


def test_ec2_is_asked_for_all_of_it(world, tmp_path):
    """Type, metadata service, tags, group, key, user data."""
    (tmp_path / "first.sh").write_text(
        "#!/bin/sh\necho {{ image }} {{ ami }} {{ cloud }} {{ region }}\n"
    )
    wanted = Launch(tags={"team": "images"})
    order = world.order(launch=wanted, type="m1.medium", key_from="metadata")
    (one,) = world.launch(order, user_data=tmp_path / "first.sh").instances
    found = world.said(one.id)
    assert (found["InstanceType"], found["ImageId"]) == ("m1.medium", world.ami)
    assert found["MetadataOptions"]["HttpTokens"] == "required"
    assert found["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert found["KeyName"].startswith("doit-ami-debian-12-")
    assert [group["GroupName"] for group in found["SecurityGroups"]] == ["default"]
    held = tags.mapped(found["Tags"])
    assert (held["Name"], held["team"], held["doit-ami:image"]) == ("debian-12", "images", "debian-12")
    data = world.client.describe_instance_attribute(InstanceId=one.id, Attribute="userData")["UserData"][
        "Value"
    ]
    assert base64.b64decode(data).decode() == f"#!/bin/sh\necho debian-12 {world.ami} aws us-east-1\n"


def test_a_key_that_is_in_the_image_is_not_imported(world):
    world.launch()
    assert world.client.describe_key_pairs()["KeyPairs"] == []


def test_a_second_run_starts_nothing(world):
    """And its receipt is the same to the byte."""
    world.launch()
    before = (world.at / "instance.json").read_bytes()
    world.launch()
    (world.at / "instance.json").unlink()
    world.launch()
    assert world.states() == ["running"]
    assert InstanceReceipt.read(world.at / "instance.json").instances[0].id in before.decode()


def test_the_command_line_says_how_many_and_of_what_type(world, capsys):
    """Two are two lines to type, each with its own."""
    world.launch(kind="m1.large")
    proof = world.launch(count=2, kind="m1.large")
    assert len(proof.instances) == 2
    assert world.said(proof.instances[0].id)["InstanceType"] == "m1.large"
    assert f"doit ssh:debian-12 --instance={proof.instances[1].id}" in capsys.readouterr().out
    with pytest.raises(ConfigFault, match="count=-1"):
        world.launch(count=-1)
    with pytest.raises(ConfigFault, match="type=huge"):
        world.launch(kind="huge")


def test_what_was_launched_before_is_told_of(world):
    """Another type is another launch; the first runs on until somebody ends it."""
    (old,) = world.launch().instances
    (new,) = world.launch(kind="m1.large").instances
    assert old.id != new.id
    said = f"still there from an earlier launch: {old.id}; doit terminate:debian-12 --instance={old.id} ends one"
    assert world.report.notes[-1] == said


def test_everything_that_is_in_the_way_is_told_at_once(world, tmp_path):
    """And nothing was started, opened or imported."""
    world.tag(image="debian-13")
    (tmp_path / "data").write_text("x" * 20000)
    order = world.order(type="m1.tiny", launch=Launch(groups=("web",)), key_from="metadata")
    with pytest.raises(CloudFault) as caught:
        world.launch(order, user_data=tmp_path / "data")
    assert caught.value.problem == "4 things are in the way; nothing was started"
    assert caught.value.evidence == (
        f"{world.ami} is of debian-13, and not of debian-12",
        "there is no instance type m1.tiny in this region",
        "there is no security group web",
        "the user data is 20000 bytes, and EC2 takes 16384 before base64",
    )
    assert world.states() == []
    assert world.client.describe_key_pairs()["KeyPairs"] == []
    assert world.report.notes == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"type": "t3.micro"},
            r"2 things.*root device is instance-store.*virtualization is para",
        ),
        ({"type": "t4g.micro"}, r"3 things.*architecture is x86_64"),
        ({"launch": Launch(groups=("web",))}, "no security group web"),
        ({"rules": (OPEN.model_copy(update={"group": "db"}),)}, "no security group db"),
    ],
)
def test_what_cannot_be_started_is_refused_before(world, more, said):
    with pytest.raises(Fault, match=f"(?s){said}"):
        world.launch(world.order(**more))
    assert world.states() == []


def test_an_image_that_is_gone_is_not_started(world):
    world.client.deregister_image(ImageId=world.ami)
    with pytest.raises(CloudFault, match=rf"(?s){world.ami} is not there any more.*ami.json"):
        world.launch()


def test_without_an_ami_there_is_nothing_to_launch(world):
    (world.at / "ami.json").unlink()
    with pytest.raises(ImageFault, match=r"ami.json is missing"):
        world.launch()


def test_an_instance_that_never_comes_up_is_shown_and_ended(mute):
    """Its console is the evidence; nothing is left of it."""
    with pytest.raises(
        CloudFault, match=r"did not come up: after 1 s it is running, but no SSH server"
    ) as caught:
        mute.launch(mute.order(launch=Launch(timeout=1)))
    assert caught.value.evidence[-1].endswith("login:")
    assert "--keep" in caught.value.hint
    assert mute.states() == ["terminated"]
    assert not (mute.at / "launching.json").exists()
    assert not (mute.at / "instance.json").exists()


def test_it_is_kept_when_that_is_said(mute):
    with pytest.raises(
        CloudFault, match=r"(?s)did not come up.*doit console:debian-12 --instance=i-.*doit terminate"
    ):
        mute.launch(mute.order(launch=Launch(timeout=1)), keep=True)
    assert mute.states() == ["running"]


def test_one_that_ran_before_is_never_ended(world, monkeypatch):
    """It may be somebody's work, and the network's fault."""
    world.launch()
    monkeypatch.setattr(instances, "reached", lambda *_: ("127.0.0.1", 1))
    with pytest.raises(CloudFault, match="did not come up"):
        world.launch(world.order(launch=Launch(timeout=1)))
    assert world.states() == ["running"]


def test_one_that_ends_by_itself_is_told_with_ec2s_reason(mute, monkeypatch):
    def ended(client, ids, *_, **__):
        return arrival.Arrival({}, dict.fromkeys(ids, "it is ended (terminated): Server.InternalError"))

    monkeypatch.setattr(arrival, "awaited", ended)
    with pytest.raises(
        CloudFault, match=r"did not come up: it is ended \(terminated\): Server.InternalError"
    ):
        mute.launch()


def test_a_run_that_is_killed_while_it_waits_is_gone_on_with(world, monkeypatch):
    """The same instances, and one set of them."""
    real = arrival.awaited

    def killed(*_, **__):
        raise Killed

    monkeypatch.setattr(arrival, "awaited", killed)
    with pytest.raises(Killed):
        world.launch(count=2)
    before = {instances.id_of(each) for each in instances.ours(world.client)}
    monkeypatch.setattr(arrival, "awaited", real)
    assert {each.id for each in world.launch(count=2).instances} == before
    assert world.states() == ["running"] * 2


def test_where_no_port_is_open_that_is_said_and_not_waited_for(mute, capsys):
    """The instance runs; nobody logs in, so nobody is told how."""
    (one,) = mute.launch(mute.order(rules=())).instances
    assert mute.report.notes[0].startswith(
        "nothing opens port 22 of default: nobody will be able to log in"
    )
    assert "config/clouds/aws.yaml" in mute.report.notes[0]
    assert capsys.readouterr().out == f"{one.id} is up\n"


def test_a_port_that_others_opened_is_open(world, monkeypatch):
    """Whoever did it."""
    world.launch()
    world.report.notes.clear()
    world.launch(world.order(rules=()))
    assert world.report.notes == []


def test_an_image_of_2008_shows_no_host_keys_and_that_is_said(world, monkeypatch, capsys):
    """Nothing is written to known_hosts that nobody has seen; what one types believes the first answer, and says so."""
    monkeypatch.setattr(instances, "console", lambda *_, **__: "Linux version 2.6.9")
    (one,) = world.launch(world.order(era="2008")).instances
    assert one.host_keys == ()
    assert not (world.at / "known_hosts").exists()
    assert "an image of its time shows no host keys on its console" in world.report.notes[1]
    assert "StrictHostKeyChecking=accept-new" in capsys.readouterr().out


def needed() -> list[str]:
    """The permissions that the stage says it needs."""
    return re.findall(r"\b[A-Z][a-zA-Z]+\b", (launch.__doc__ or "").partition("Needs:")[2])


def test_the_permissions_that_it_names_are_enough(world, policed):
    """To start, with a key of EC2's, and to see it up; as moto's IAM has it."""
    policed(*(f"ec2:{each}" for each in needed()))
    assert world.launch(world.order(key_from="metadata")).instances


def test_a_permission_that_is_lacking_is_named(world, policed):
    """And nothing is running afterwards that nobody knows of."""
    policed(*(f"ec2:{each}" for each in needed() if each != "RunInstances"))
    with pytest.raises(CloudFault, match="do not permit ec2:RunInstances"):
        world.launch()


def test_an_order_is_made_of_the_configuration(monkeypatch):
    """Every key of `launch:`, and the cloud's rules."""
    monkeypatch.chdir(ROOT)
    project = load()
    image = project.image("debian-12")
    assert image
    made = launch.Order.of(image, project.cloud)
    assert (made.launch, made.rules, made.era) == (image.launch, project.cloud.authorize, "today")
    assert made.type == image.instance_type
    old = project.image("centos-4.7-i386")
    assert old
    assert launch.Order.of(old, project.cloud).era == "2008"


def test_the_local_cloud_as_shipped_lets_this_machine_in(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert load().cloud.authorize == (OPEN,)
