"""Instances in EC2: found, started, read, ended; against moto, and against botocore's models where moto is too kind."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import Stubber

from tasks.cloud import instances, local
from tasks.kit.fault import CloudFault
from tasks.spec import record
from tests.clouds import LOCAL, elsewhere

AT = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def client(account):
    return account.ec2()


def run(client, image="debian-12", digest="d", count=1, **more):
    tags = {"doit-ami:image": image, "doit-ami:digest": digest}
    listed = [{"Key": key, "Value": value} for key, value in tags.items() if value]
    request: Any = {
        "ImageId": "ami-1",
        "InstanceType": "m1.small",
        "MinCount": count,
        "MaxCount": count,
        "TagSpecifications": [{"ResourceType": "instance", "Tags": listed}],
        **more,
    }
    return [instances.id_of(each) for each in instances.start(client, request) or []]


def told(*found: dict[str, Any], **more: Any) -> Any:
    return {"Reservations": [{"Instances": [each]} for each in found], **more}


def test_ours_are_found_by_their_tags(client):
    """By image, by what they were started for, by id; nobody else's."""
    one, two = run(client, count=2)
    (other,) = run(client, "debian-13", "e")
    client.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1)

    def ids(found):
        return {instances.id_of(each) for each in found}

    assert ids(instances.ours(client)) == {one, two, other}
    assert ids(instances.of_image(client, "debian-12")) == {one, two}
    assert ids(instances.with_digest(client, "e")) == {other}
    assert ids(instances.by_ids(client, [one, "i-00000000000000000"])) == {one}
    assert {instances.digest_of(each) for each in instances.of_image(client, "debian-13")} == {"e"}


def test_what_ended_is_nobodys(client):
    """It shows for an hour, and is neither adopted nor logged in to."""
    (one,) = run(client)
    instances.end(client, [one], pause=lambda _: None)
    assert instances.of_image(client, "debian-12") == instances.with_digest(client, "d") == []
    assert [instances.state_of(each) for each in instances.ours(client)] == ["terminated"]
    instances.end(client, [one], pause=lambda _: None)


def test_lists_have_all_their_pages(client):
    with Stubber(client) as stub:
        stub.add_response("describe_instances", told({"InstanceId": "i-1"}, NextToken="more"))
        stub.add_response("describe_instances", told({"InstanceId": "i-2"}))
        assert [each["InstanceId"] for each in instances.ours(client)] == ["i-1", "i-2"]


def test_an_instance_that_does_not_end_is_a_fault(client):
    """After five minutes."""
    with Stubber(client) as stub:
        stub.add_response("terminate_instances", {}, {"InstanceIds": ["i-1"]})
        for _ in range(151):
            stub.add_response(
                "describe_instances", told({"InstanceId": "i-1", "State": {"Name": "shutting-down"}})
            )
        with pytest.raises(CloudFault, match="i-1 did not end within 300 s"):
            instances.end(client, ["i-1"], pause=lambda _: None)
        stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("instance", "place"),
    [
        ({"PublicIpAddress": "192.0.2.7", "PrivateIpAddress": "10.0.0.7"}, ("192.0.2.7", 22)),
        ({"Ipv6Address": "2001:db8::7", "PrivateIpAddress": "10.0.0.7"}, ("2001:db8::7", 22)),
        ({"PrivateIpAddress": "10.0.0.7"}, ("10.0.0.7", 22)),
        ({"PublicIpAddress": "192.0.2.7", "Tags": [{"Key": "aws:local:tcp/22", "Value": "127.0.0.1:40123"}]}, ("127.0.0.1", 40123)),
        ({"Tags": [{"Key": "aws:local:tcp/80", "Value": "127.0.0.1:40124"}]}, None),
        ({"PublicIpAddress": ""}, None),
    ],
)  # fmt: skip
def test_where_an_instance_is_reached(instance, place):
    """On AWS by its address; on the local cloud by the port that leads to it."""
    assert instances.reached(instance, 22) == place


def test_the_console_is_read_as_it_is_written_where_that_can_be(client):
    """`Latest` is a fault on types without Nitro."""
    said = {"Output": base64.b64encode(b"[ 0.1] Linux \xff\n").decode()}
    with Stubber(client) as stub:
        stub.add_response("get_console_output", said, {"InstanceId": "i-1", "Latest": True})
        stub.add_response("get_console_output", {}, {"InstanceId": "i-1"})
        assert instances.console(client, "i-1", latest=True) == "[ 0.1] Linux �\n"
        assert instances.console(client, "i-1", latest=False) == ""
    assert instances.live({"Hypervisor": "nitro"})
    assert not instances.live({"Hypervisor": "xen"})
    assert not instances.live(None)


def test_types_are_those_of_the_region(client):
    found = instances.type_of(client, "m1.small")
    assert found
    assert "instance-store" in found["SupportedRootDeviceTypes"]
    assert instances.type_of(client, "m1.tiny") is None


@pytest.mark.parametrize("code", ["IdempotentInstanceTerminated", "IdempotentParameterMismatch"])
def test_a_token_that_is_spent_is_no_fault(client, code):
    """What it stood for has ended; whoever asked takes a new one."""
    with Stubber(client) as stub:
        stub.add_client_error("run_instances", code)
        assert instances.start(client, {"MinCount": 1, "MaxCount": 1}) is None


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("InstanceLimitExceeded", r"quota does not allow it.*launch.count.*Service Quotas"),
        ("VcpuLimitExceeded", "quota does not allow it"),
        ("InsufficientInstanceCapacity", r"has none of that instance type left.*launch.subnet"),
        ("OptInRequired", r"may not use this region.*enable-region"),
        ("AuthFailure", r"does not know the access key.*a region that is off"),
        ("UnauthorizedOperation", "do not permit ec2:RunInstances"),
        ("InvalidParameterCombination", "The parameter is odd"),
    ],
)
def test_what_ec2_refuses_is_told_as_a_person_can_use_it(client, code, said):
    with Stubber(client) as stub:
        stub.add_client_error("run_instances", code, "The parameter is odd")
        with pytest.raises(CloudFault, match=f"(?s)could not start the instances: .*{said}"):
            instances.start(client, {"MinCount": 1, "MaxCount": 1})


@pytest.fixture
def receipt(tmp_path):
    def keep(*ids, cloud_id=""):
        launched = tuple(record.Launched(id=each, address="", port=22, host_keys=()) for each in ids)
        record.InstanceReceipt(
            account="1" * 12, region="us-east-1", sha256="s", cloud_id=cloud_id, at=AT,
            ami="ami-1", digest="d", instances=launched,
        ).write(tmp_path / "instance.json")  # fmt: skip
        return tmp_path / "instance.json"

    return keep


def test_instances_that_run_are_not_gone(client, moto, receipt, tmp_path):
    """One that ended is, and so is a receipt that is not there."""
    one, two = run(client, count=2)
    assert not instances.gone(receipt(one, two), elsewhere(moto), tmp_path)
    instances.end(client, [two], pause=lambda _: None)
    assert instances.gone(receipt(one, two), elsewhere(moto), tmp_path)
    assert not instances.gone(receipt(one), elsewhere(moto), tmp_path)
    assert instances.gone(tmp_path / "nothing.json", elsewhere(moto), tmp_path)


def test_nobody_to_ask_is_no_doubt(credentials, receipt, tmp_path, monkeypatch):
    """Offline, what was launched is taken to run."""

    def offline(*_):
        raise CloudFault("could not learn whose the credentials are: the endpoint cannot be reached")

    monkeypatch.setattr(instances, "connect", offline)
    assert not instances.gone(receipt("i-1"), elsewhere("http://127.0.0.1:1"), tmp_path)


def test_to_ask_starts_no_local_cloud(receipt, tmp_path):
    """Its machines ended when it did."""
    assert instances.gone(receipt("i-1", cloud_id="c"), LOCAL, tmp_path / "home")
    assert local.running(tmp_path / "home") is None


def test_a_reply_that_is_lost_is_told_as_such(client, monkeypatch):
    """What was started is found by the next run."""

    def lost(**_):
        raise ReadTimeoutError(endpoint_url="https://ec2")

    monkeypatch.setattr(client, "run_instances", lost)
    with pytest.raises(
        CloudFault, match=r"(?s)cannot be reached.*run doit again: it goes on where it stopped"
    ):
        instances.start(client, {"MinCount": 1, "MaxCount": 1})
