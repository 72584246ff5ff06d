"""The stage `terminate`: the instances of an image end, and what was there for them alone; asked for on a terminal."""

import base64
import os
import pty
import subprocess
import sys
from typing import Any

import pytest

from tasks import terminate
from tasks.cloud import instances
from tasks.kit.fault import CloudFault, HostFault
from tasks.spec import names, record
from tests import clouds, projects
from tests.endings import IMAGE, Place, moto, place

__all__ = ["moto", "place"]

KEY = "doit-ami-debian-12-0123456789ab"
PUBLIC = f"ssh-ed25519 {base64.b64encode(bytes([0, 0, 0, 11, *b'ssh-ed25519', 0, 0, 0, 32, *range(32)])).decode()}"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(instances, "PAUSE", 0.01)


def run(place: Place, *, instance: str = "", yes: bool = True) -> None:
    terminate.body(
        terminate.Order(image=IMAGE, cloud=place.spec),
        home=place.at,
        receipt=place.shelf.instance,
        launching=place.shelf.launching,
        known_hosts=place.shelf.known_hosts,
        instance=instance,
        yes=yes,
    )


def key_pair(place: Place) -> None:
    place.tag(place.ec2.create_key_pair(KeyName=KEY)["KeyPairId"])


def launched(place: Place, count: int = 2) -> list[str]:
    """Instances as the stage `launch` leaves them, with its receipts."""
    key_pair(place)
    ami = place.image()
    ids = [place.instance(ami, key=KEY) for _ in range(count)]
    told = tuple(record.Launched(id=id_, address="127.0.0.1", port=22, host_keys=()) for id_ in ids)
    record.InstanceReceipt(
        account=place.cloud.account, region="us-east-1", sha256=clouds.SHA256, cloud_id="", at=clouds.MADE,
        ami=ami, digest="d", instances=told,
    ).write(place.shelf.instance)  # fmt: skip
    place.shelf.known_hosts.write_text("a key\n")
    return ids


def states(place: Place) -> dict[str, str]:
    found: list[Any] = instances.listed(place.ec2)
    return {each["InstanceId"]: each["State"]["Name"] for each in found}


def keys(place: Place) -> list[str]:
    return [each["KeyName"] for each in place.ec2.describe_key_pairs()["KeyPairs"]]


def test_all_instances_of_an_image_end_and_their_key_pair_and_receipts_go(place):
    """Stopped ones too; another image's, and nobody's, run on."""
    ids = launched(place)
    place.ec2.stop_instances(InstanceIds=ids[:1])
    others = [place.instance(place.images()[0], image=image) for image in ("rocky-9", "")]
    place.ec2.create_key_pair(KeyName="somebody's")
    run(place)
    assert states(place) == {**dict.fromkeys(ids, "terminated"), **dict.fromkeys(others, "running")}
    assert keys(place) == ["somebody's"]
    assert place.receipts() == []
    run(place)


def test_one_alone_and_the_rest_runs_on_with_its_key_pair(place, capsys):
    """The receipt speaks of both, and stays."""
    one, other = launched(place)
    run(place, instance=one)
    assert states(place) == {one: "terminated", other: "running"}
    assert keys(place) == [KEY]
    assert place.receipts() == ["instance.json", "known_hosts"]
    out = capsys.readouterr().out
    assert f"not asked for: --instance={other}" in out
    assert f"{other} was started with it" in out


def test_a_key_pair_that_an_instance_of_another_image_uses_stays(place):
    launched(place)
    place.instance(place.images()[0], image="rocky-9", key=KEY)
    run(place)
    assert keys(place) == [KEY]


def test_what_is_protected_is_named_with_the_command_that_helps_and_the_rest_ends(place):
    one, other = launched(place)
    place.ec2.modify_instance_attribute(InstanceId=one, DisableApiTermination={"Value": True})
    with pytest.raises(
        CloudFault,
        match=f"(?s)1 of what was asked for was refused.*{one}.*modify-instance-attribute --instance-id {one}",
    ):
        run(place)
    assert states(place) == {one: "running", other: "terminated"}
    assert keys(place) == [KEY]


@pytest.mark.parametrize(
    ("image", "reason"), [("", "it is not ours"), ("rocky-9", "it is rocky-9's: doit terminate:rocky-9")]
)
def test_what_is_not_of_the_image_is_refused(place, image, reason):
    id_ = place.instance(place.image(), image=image)
    with pytest.raises(CloudFault, match=reason):
        run(place, instance=id_)
    assert states(place) == {id_: "running"}


def test_one_that_is_not_there(place, capsys):
    run(place, instance="i-0123456789abcdef0")
    assert (
        capsys.readouterr().out
        == "i-0123456789abcdef0 is not there: it is gone, or never was\nnothing goes\n"
    )


def test_nobody_there_to_ask_nothing_is_changed(place):
    ids = launched(place)
    with pytest.raises(HostFault, match=rf"doit terminate:debian-12 --instance={ids[0]} --yes"):
        run(place, instance=ids[0], yes=False)
    assert set(states(place).values()) == {"running"}


def test_on_the_local_cloud_a_key_pair_that_nobody_uses_goes(fresh, home, cloud, tmp_path):
    """And another image's stays."""
    assert fresh
    client = cloud.ec2()
    for name, image in (("ours", IMAGE), ("other", "rocky-9")):
        tags: Any = [{"ResourceType": "key-pair", "Tags": [{"Key": names.IMAGE_TAG, "Value": image}]}]
        client.import_key_pair(KeyName=name, PublicKeyMaterial=PUBLIC.encode(), TagSpecifications=tags)
    paths: Any = {each: tmp_path / each for each in ("receipt", "launching", "known_hosts")}
    order = terminate.Order(image=IMAGE, cloud=clouds.LOCAL)
    terminate.body(order, home=home, **paths, instance="", yes=True)
    assert [each["KeyName"] for each in client.describe_key_pairs()["KeyPairs"]] == ["other"]


def test_to_look_makes_no_local_cloud(tmp_path, capsys):
    """There is nothing in it."""
    paths: Any = {each: tmp_path / each for each in ("home", "receipt", "launching", "known_hosts")}
    terminate.body(terminate.Order(image=IMAGE, cloud=clouds.LOCAL), **paths, instance="", yes=True)
    assert "no local cloud was made here" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def project(place: Place) -> projects.Project:
    made = projects.copy(place.at / "project")
    made.configure("site.yaml", cloud="aws", build=str(place.shelf.build))
    (made.path / "ec2.pem").write_text("EC2's public certificate, which nobody reads here\n")
    keys = {"account": place.cloud.account, "region": "us-east-1", "ec2_certificate": "ec2.pem"}
    made.configure("clouds/aws.yaml", endpoint_url=place.relay.url, **keys)
    return made


def on_a_terminal(made: projects.Project, answer: str, *words: str) -> tuple[int, str]:
    """What it prints there, and its status."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "doit", *words]
    child = subprocess.Popen(command, cwd=made.path, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    said = b""
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:  # Linux's way to say that nobody holds the other end
            break
        said += more
    os.close(ours)
    return child.wait(60), said.decode()


def test_doit_asks_on_a_terminal_and_heeds_the_answer(place):
    """Anything but yes changes nothing, and the status stops what was to follow."""
    ids, made = launched(place), project(place)
    status, said = on_a_terminal(made, "y", "terminate:debian-12", "images")
    assert status == 1
    assert "2 instances, 1 key pair, 2 receipts: this cannot be undone. Type yes: " in said
    assert "nothing was changed: the answer was not yes" in said
    assert "image  " not in said, "what was to follow did not run"
    assert set(states(place).values()) == {"running"}
    status, said = on_a_terminal(made, "yes", "terminate:debian-12")
    assert status == 0, said
    assert place.receipts() == []
    assert states(place) == dict.fromkeys(ids, "terminated")


@pytest.mark.parametrize("words", [["--yes"], ["yes=true"]])
def test_doit_is_told_yes_in_either_spelling(place, words):
    """And without it, and without a terminal, refuses."""
    launched(place)
    made = project(place)

    def doit(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "doit", "terminate:debian-12", *words],
            cwd=made.path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    status, said = doit()
    assert status == 1, said
    assert "try:   read the verdict above, then: doit terminate:debian-12 --yes" in said
    status, said = doit("yes=perhaps")
    assert (status, "yes=perhaps says neither yes nor no" in said) == (1, True)
    assert set(states(place).values()) == {"running"}
    status, said = doit(*words)
    assert status == 0, said
    assert set(states(place).values()) == {"terminated"}
