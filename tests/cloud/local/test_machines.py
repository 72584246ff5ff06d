"""Instances as machines: they boot what was uploaded, and nothing else; their ports; and their lives, through any end of the server."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.cloud import local
from tasks.cloud.local import door
from tasks.cloud.local.machines import guest, noise, orphans, ports
from tasks.cloud.local.machines.den import CONSOLE, MOST, Den
from tasks.cloud.local.machines.noise import BLOCK, volume
from tasks.cloud.local.machines.states import Row
from tasks.kit.fault import ToolFault
from tasks.plan import firmware, machine
from tests import bootsector, efidisk, tinykernel
from tests.localcloud import LocalCloud

TINY = "t2.micro"
GIB = 1 << 30


def wait(
    happened: Callable[[], object], otherwise: str = "it did not happen", seconds: float = 40
) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


def qemus(home: Path) -> list[int]:
    return list(orphans._machines(home / "machines"))


class Client:
    """EC2's, and what tests ask of it. `connect`: makes boto3's clients; asked anew after each start of the server."""

    def __init__(self, connect: Callable[[str], Any], home: Path) -> None:
        self.connect, self.home = connect, home

    @property
    def ec2(self) -> Any:
        return self.connect("ec2")

    def run(self, ami: str, **asked: Any) -> str:
        usual = {"ImageId": ami, "InstanceType": TINY, "MinCount": 1, "MaxCount": 1}
        return str(self.ec2.run_instances(**usual | asked)["Instances"][0]["InstanceId"])

    def told(self, identity: str) -> Any:
        (reservation,) = self.ec2.describe_instances(InstanceIds=[identity])["Reservations"]
        return reservation["Instances"][0]

    def until(self, identity: str, state: str) -> Any:
        wait(lambda: self.told(identity)["State"]["Name"] == state, f"it is no {state}")
        return self.told(identity)

    def console(self, identity: str) -> str:
        return str(self.ec2.get_console_output(InstanceId=identity).get("Output", ""))

    def boots(self, identity: str) -> list[str]:
        """The disk's own count, as it was at each."""
        return [count for count, _ in bootsector.SAID.findall(self.console(identity))]

    def booted(self, identity: str, counts: list[str]) -> None:
        wait(lambda: self.boots(identity) == counts, f"{counts} was to come: {self.boots(identity)}")

    def tags(self, identity: str) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in self.told(identity).get("Tags", ())}

    def end(self, identity: str) -> None:
        self.ec2.terminate_instances(InstanceIds=[identity])
        self.until(identity, "terminated")


@pytest.fixture
def client(localcloud: LocalCloud) -> Client:
    return Client(localcloud.client, localcloud.home)


@pytest.fixture
def ami(client: Client) -> str:
    return bootsector.register(client.ec2, client.connect("ebs"))


def test_a_volume_shows_noise_where_nothing_was_written(tmp_path: Path) -> None:
    """Everywhere, and everywhere the same for the same seed; what was written is there, in any order."""
    written = [(3, b"3" * BLOCK), (0, b"0" * BLOCK), (2 * GIB // BLOCK - 1, b"e" * BLOCK)]
    seen = []
    for name, seed in (("one", b"a"), ("same", b"a"), ("other", b"b")):
        volume(tmp_path / name, 2 * GIB, seed, written)
        assert (tmp_path / name).stat().st_size < 64 << 20
        seen.append([_block(tmp_path / name, index) for index in (0, 1, 2, 3, 4000, 4095)])
    one, same, other = seen
    assert one == same
    assert (one[0], one[3], one[5]) == (b"0" * BLOCK, b"3" * BLOCK, b"e" * BLOCK)
    assert len({one[1], one[2], one[4], other[1], other[2], other[4], bytes(BLOCK)}) == 7


def _block(path: Path, index: int) -> bytes:
    """As QEMU reads it."""
    target = path.with_name("block")
    where = (f"bs={BLOCK}", f"count={index + 1}", f"skip={index}", f"if={path}", f"of={target}")
    subprocess.run(["qemu-img", "dd", "-f", "qcow2", "-O", "raw", *where], check=True)
    return target.read_bytes()


def test_the_console_is_kept_through_boots_and_cut_to_what_ec2_keeps(tmp_path: Path) -> None:
    """The last 64 KiB, whatever was switched on and off in between."""
    den = Den(tmp_path)
    assert (den.said(), den.written()) == (b"", None)
    den.console.write_bytes(b"first\n")
    den.turn()
    den.console.write_bytes(b"second\n")
    assert den.said() == b"first\nsecond\n"
    den.console.write_bytes(b"x" * CONSOLE + b"end")
    assert den.said() == b"x" * (CONSOLE - 3) + b"end"


def test_a_console_that_runs_over_takes_no_more_than_some_room(tmp_path: Path) -> None:
    """It is cut off while it is written to; its end is there still."""
    den = Den(tmp_path)
    with den.console.open("wb") as writer:
        writer.write(b"x" * (MOST + 4096))
        writer.flush()
        den.trim()
        writer.write(b"goes on\n")
        writer.flush()
        assert den.console.stat().st_blocks * 512 <= 8192
    assert den.said() == (b"x" * CONSOLE)[:-8] + b"goes on\n"


def test_a_silent_disk_is_no_proof_that_kvm_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that says nothing is: that is remembered for all that come after."""
    tcg = machine.ACCEL["tcg"]
    monkeypatch.setattr(machine, "ACCEL", {"kvm": tcg, "tcg": tcg})
    monkeypatch.setattr(guest, "KVM", Path("/dev/null"))
    monkeypatch.setattr(guest, "KVM_PATIENCE", 0.5)
    disk = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1M"], check=True)
    silent = tmp_path / "kernel"
    silent.write_bytes(
        tinykernel.kernel().replace(b"Command line", b"\0" * 12).replace(b"[    0", b"\0" * 6)
    )
    for kernel, expected in ((None, {}), (silent, {"kvm": guest.SILENT})):
        plan = machine.Machine("x86_64", 64 << 20, disk, kernel, None, "", {}, tmp_path / "console.log")
        refused: guest.Refused = {}
        started = guest.Guest(plan, Den(tmp_path), refused, lambda: True)
        assert started.ended() is None
        started.off()
        assert refused == expected


def rule(protocol: str, first: int, last: int, cidr: str, *, egress: bool = False) -> dict[str, Any]:
    return {
        "IsEgress": egress, "IpProtocol": protocol, "FromPort": first, "ToPort": last, "CidrIpv4": cidr,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "expected", "beyond"),
    [
        ([], [], 0),
        ([rule("tcp", 22, 22, "127.0.0.1/32")], [("tcp", 22)], 0),
        (
            [rule("tcp", 22, 23, "0.0.0.0/0"), rule("tcp", 22, 22, "127.0.0.0/8")],
            [("tcp", 22), ("tcp", 23)],
            0,
        ),
        ([rule("udp", 53, 53, "127.0.0.1/32")], [("udp", 53)], 0),
        ([rule("tcp", 22, 22, "10.0.0.0/8")], [], 0),
        ([rule("tcp", 22, 22, "0.0.0.0/0", egress=True)], [], 0),
        ([rule("icmp", -1, -1, "0.0.0.0/0")], [], 0),
        ([{"IsEgress": False, "IpProtocol": "-1", "FromPort": -1, "ToPort": -1}], [], 0),
    ],
)
def test_a_port_is_open_when_a_rule_lets_the_loopback_in(
    rules: list[dict[str, Any]], expected: list[ports.Port], beyond: int
) -> None:
    """By address, direction and protocol; a group's own members are nobody here."""
    assert ports.opened([{"rules": rules}]) == (expected, beyond)


def test_of_very_many_open_ports_the_usual_ones_are_led_to() -> None:
    """And it is said that there are more."""
    found, beyond = ports.opened([{"rules": [rule("-1", -1, -1, "0.0.0.0/0")]}])
    assert len(found) == ports.MOST
    assert {("tcp", 22), ("tcp", 443), ("udp", 80)} <= set(found)
    assert beyond == 2 * 65535 - ports.MOST
    assert ports.BEYOND in ports.tags({}, beyond)


def test_what_tags_tell_of_ports_can_be_read_back() -> None:
    """By the cloud itself, which then leads to the same ones again."""
    opened: ports.Open = {("tcp", 22): 40000, ("udp", 53): 40001}
    assert ports.told({**ports.tags(opened, 3), "aws:other": "x", "mine": "127.0.0.1:1"}) == opened


def open_port(client: Client, number: int, protocol: str = "tcp") -> dict[str, Any]:
    wish = {"GroupName": "default", "IpProtocol": protocol, "FromPort": number, "ToPort": number}
    client.ec2.authorize_security_group_ingress(**wish, CidrIp="127.0.0.1/32")
    return wish


def listens(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2):
            return True
    except OSError:
        return False


def test_ports_follow_the_rules_of_a_running_instance(client: Client, ami: str) -> None:
    """Open: told by a tag, and QEMU listens there. Closed: neither."""
    wish = open_port(client, 22)
    identity = client.run(ami)
    client.until(identity, "running")
    first = client.tags(identity)["aws:local:tcp/22"]
    assert listens(first)
    open_port(client, 80)
    open_port(client, 53, "udp")
    wait(lambda: {"aws:local:tcp/80", "aws:local:udp/53"} <= set(client.tags(identity)))
    assert client.tags(identity)["aws:local:tcp/22"] == first
    client.ec2.revoke_security_group_ingress(**wish, CidrIp="127.0.0.1/32")
    wait(lambda: "aws:local:tcp/22" not in client.tags(identity))
    assert not listens(first)
    other = client.tags(identity)["aws:local:tcp/80"]
    client.end(identity)
    assert client.tags(identity) == {}
    assert not listens(other)


def test_a_volume_may_be_larger_than_its_snapshot(client: Client, ami: str) -> None:
    """As large as the launch says."""
    identity = client.run(
        ami, BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 3}}]
    )
    client.until(identity, "running")
    assert size(Den.of(client.home, identity).disk) == 3 * GIB


def size(disk: Path) -> int:
    """As the guest sees it."""
    said = subprocess.run(
        ["qemu-img", "info", "--output=json", "-U", disk], capture_output=True, check=True
    )
    return int(json.loads(said.stdout)["virtual-size"])


def disks(client: Client, identity: str) -> list[int]:
    """Their sizes in GiB, as the machine itself sees them."""
    wait(lambda: "login:" in client.console(identity), "it does not boot", 120)
    return sorted(int(size) >> 20 for _, size in efidisk.DISK.findall(client.console(identity)))


def test_an_instance_boots_by_uefi_where_its_image_says_so(client: Client, tmp_path: Path) -> None:
    """From NVMe, on a type that has both. What its firmware remembers is its own, through a stop, until its end."""
    data = efidisk.disk(tmp_path)
    identity = client.run(
        efidisk.register(client.ec2, client.connect("ebs"), data), InstanceType="t3.micro"
    )
    assert client.told(identity)["CurrentInstanceBootMode"] == "uefi"
    assert disks(client, identity) == [1]
    assert efidisk.SAID.findall(client.console(identity)) == [("efi", "x86_64")]
    assert "NVMe(" in client.console(identity)
    den = Den.of(client.home, identity)
    client.ec2.stop_instances(InstanceIds=[identity], Force=True)
    client.until(identity, "stopped")
    code, file = firmware.uefi("x86_64").path, den.variables.stat().st_ino
    assert den.variables.read_bytes() != firmware.variables("x86_64", code).read_bytes()
    client.ec2.start_instances(InstanceIds=[identity])
    wait(lambda: len(efidisk.SAID.findall(client.console(identity))) == 2, "it does not boot", 120)
    assert den.variables.stat().st_ino == file
    client.end(identity)
    assert not den.variables.exists()


def test_an_arm64_instance_boots_by_uefi(client: Client, tmp_path: Path) -> None:
    """As Graviton does."""
    data = efidisk.disk(tmp_path, "arm64")
    ami = efidisk.register(client.ec2, client.connect("ebs"), data, "arm64")
    identity = client.run(ami, InstanceType="t4g.micro")
    assert disks(client, identity) == [1]
    assert efidisk.SAID.findall(client.console(identity)) == [("efi", "arm64")]


def test_an_instance_boots_by_bios_from_nvme_where_its_image_says_so(client: Client) -> None:
    """On a type that has UEFI, too."""
    ebs = client.connect("ebs")
    ami = bootsector.register(client.ec2, ebs, BootMode="legacy-bios", EnaSupport=True)
    identity = client.run(ami, InstanceType="t3.micro")
    assert client.told(identity)["CurrentInstanceBootMode"] == "legacy-bios"
    client.booted(identity, ["01"])
    options = Path(f"/proc/{qemus(client.home)[0]}/cmdline").read_text().split("\0")
    volume = client.told(identity)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    assert f"nvme,drive=root,serial={volume.replace('-', '')},bootindex=1" in options


def test_a_machine_has_the_volumes_of_its_image_and_of_its_launch(
    client: Client, tmp_path: Path
) -> None:
    """Beside the root's, as large as they were asked for; the root's may be larger than its snapshot.

    UEFI itself looks at nothing but the root's, so that the others are seen from outside.
    """
    beside = [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 2, "VolumeType": "gp3"}}]
    data = efidisk.disk(tmp_path)
    ami = efidisk.register(client.ec2, client.connect("ebs"), data, beside=beside)
    mappings = [
        {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 4}},
        {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 3, "VolumeType": "gp3"}},
    ]
    identity = client.run(ami, InstanceType="t3.micro", BlockDeviceMappings=mappings)
    assert disks(client, identity) == [4]
    shown = client.told(identity)["BlockDeviceMappings"]
    assert [each["DeviceName"] for each in shown] == ["/dev/xvda", "/dev/sdf", "/dev/sdg"]
    _, *volumes = [each["Ebs"]["VolumeId"] for each in shown]
    options = Path(f"/proc/{qemus(client.home)[0]}/cmdline").read_text().split("\0")
    assert [each for each in options if "drive=disk" in each] == [
        f"nvme,drive=disk{number},serial={each.replace('-', '')}"
        for number, each in enumerate(volumes, 1)
    ]
    den = Den.of(client.home, identity)
    assert [size(den.beside(each)) >> 30 for each in volumes] == [2, 3]
    assert any(_block(den.volumes / volumes[0], 4095)), "noise, as in what nobody has written to"
    client.end(identity)
    assert not den.volumes.exists()


def test_a_volume_outlives_a_stop_and_a_reboot(client: Client, ami: str) -> None:
    """The disk counts on; the address stays, the ports come back where they were."""
    open_port(client, 22)
    identity = client.run(ami)
    client.booted(identity, ["01"])
    before = client.until(identity, "running")
    ports_before = client.tags(identity)
    client.ec2.reboot_instances(InstanceIds=[identity])
    client.booted(identity, ["01", "02"])
    client.ec2.stop_instances(InstanceIds=[identity])
    told = client.until(identity, "stopped")
    assert told["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert "PublicIpAddress" not in told
    assert (client.tags(identity), qemus(client.home)) == ({}, [])
    client.ec2.start_instances(InstanceIds=[identity])
    client.booted(identity, ["01", "02", "03"])
    after = client.until(identity, "running")
    assert after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert after["PublicIpAddress"] == "127.0.0.1"
    assert set(client.tags(identity)) == set(ports_before)


def test_an_instance_that_ended_or_stops_cannot_be_told_to_run(client: Client, ami: str) -> None:
    """Nor one that is stopped to reboot; what is told twice is done once."""
    from tests.localcloud import refused

    ec2, identity = client.ec2, client.run(ami)
    assert refused(ec2.stop_instances, InstanceIds=[identity], Hibernate=True)
    client.until(identity, "running")
    ec2.stop_instances(InstanceIds=[identity], Force=True)
    ec2.stop_instances(InstanceIds=[identity])
    client.until(identity, "stopped")
    assert refused(ec2.reboot_instances, InstanceIds=[identity]) == "IncorrectInstanceState"
    client.end(identity)
    for deed in (ec2.start_instances, ec2.stop_instances, ec2.reboot_instances):
        assert refused(deed, InstanceIds=[identity]) == "IncorrectInstanceState"


@pytest.mark.parametrize(("behaviour", "state"), [("stop", "stopped"), ("terminate", "terminated")])
def test_a_guest_that_switches_itself_off_is_stopped_or_ended(
    client: Client, behaviour: str, state: str
) -> None:
    """As the launch said."""
    ami = bootsector.register(client.ec2, client.connect("ebs"), off=True)
    identity = client.run(ami, InstanceInitiatedShutdownBehavior=behaviour)
    told = client.until(identity, state)
    assert told["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert client.boots(identity) == ["01"]
    assert Den.of(client.home, identity).disk.exists() == (state == "stopped")


def test_a_qemu_that_dies_is_an_error_of_the_servers(client: Client, ami: str) -> None:
    """The volume is still there, and can be started again."""
    identity = client.run(ami)
    client.booted(identity, ["01"])
    client.until(identity, "running")
    for pid in qemus(client.home):
        os.kill(pid, signal.SIGKILL)
    told = client.until(identity, "stopped")
    assert told["StateReason"]["Code"] == "Server.InternalError"
    client.ec2.start_instances(InstanceIds=[identity])
    client.booted(identity, ["01", "02"])


def test_nothing_but_the_console_is_left_of_what_ended(client: Client, ami: str) -> None:
    """No process, no disk; after an hour not even that, nor a row."""
    identity = client.run(ami)
    client.booted(identity, ["01"])
    client.end(identity)
    den = Den.of(client.home, identity)
    assert qemus(client.home) == []
    assert {path.name for path in den.path.iterdir()} <= {"console.log", "console.past"}


def test_what_ended_is_told_of_for_an_hour(localcloud: LocalCloud) -> None:
    """And then it never was."""
    client = Client(localcloud.client, localcloud.home)
    identity = client.run(bootsector.register(client.ec2, client.connect("ebs")))
    client.end(identity)
    row = Row(localcloud.server.store, "123456789012", "us-east-1", identity)
    with row.change() as thing:
        thing["local"]["since"] -= 3601
    localcloud.server.store.work.set()
    wait(lambda: client.ec2.describe_instances()["Reservations"] == [])
    wait(lambda: not Den.of(client.home, identity).path.exists())


def test_what_nobody_knows_of_is_removed_at_the_start(localcloud: LocalCloud) -> None:
    """Files of an instance that was never made."""
    stray = localcloud.home / "machines/i-0123456789abcdef0"
    (stray / "work").mkdir(parents=True)
    localcloud.restart()
    assert not stray.exists()


def test_machines_are_off_while_the_server_is_and_on_again_with_it(localcloud: LocalCloud) -> None:
    """The same instances, with their disks and ports as they were."""
    client = Client(localcloud.client, localcloud.home)
    identity = client.run(bootsector.register(client.ec2, client.connect("ebs")))
    open_port(client, 22)
    client.booted(identity, ["01"])
    client.until(identity, "running")
    wait(lambda: client.tags(identity))
    tags = client.tags(identity)
    localcloud.stop()
    assert qemus(localcloud.home) == []
    localcloud.start()
    client.booted(identity, ["01", "02"])
    assert client.told(identity)["State"]["Name"] == "running"
    wait(lambda: client.tags(identity) == tags)


def test_a_start_that_fails_does_no_harm_to_the_volume(
    client: Client, ami: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped again, and says why; the next start finds all that was there."""
    identity = client.run(ami)
    client.booted(identity, ["01"])
    client.until(identity, "running")
    client.ec2.stop_instances(InstanceIds=[identity], Force=True)
    client.until(identity, "stopped")

    def broken(*_: object) -> None:
        raise ToolFault("QEMU is not well")

    with monkeypatch.context() as patched:
        patched.setattr(guest.Guest, "__init__", broken)
        client.ec2.start_instances(InstanceIds=[identity])
        told = client.until(identity, "stopped")
    assert told["StateReason"]["Code"] == "Server.InternalError"
    client.ec2.start_instances(InstanceIds=[identity])
    client.booted(identity, ["01", "02"])


# A server of its own, that can be killed


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "own"
    local.stop(tmp_path / "own")


def connected(home: Path) -> Client:
    import boto3
    from botocore.config import Config

    session: Any = boto3.Session("local", "local", region_name="us-east-1")
    url, once = local.endpoint(home).url, Config(retries={"total_max_attempts": 1})
    return Client(lambda name: session.client(name, endpoint_url=url, config=once), home)


def kill(home: Path) -> None:
    """The server, as nothing can prevent. Its machines go with it."""
    state = door.read(home)
    assert state is not None
    os.kill(state.pid, signal.SIGKILL)
    wait(lambda: not door.alive(state))
    wait(lambda: qemus(home) == [], "a machine outlived its server", 10)


@pytest.mark.parametrize("after", [0.0, 0.05, 0.2, 0.5])
def test_a_server_killed_at_any_instant_of_a_launch_has_one_instance(own: Path, after: float) -> None:
    """It is there after the next start, runs, and is one process; once it is ended there is none, and no file of it."""
    client = connected(own)
    ami = bootsector.register(client.ec2, client.connect("ebs"))
    identity = client.run(ami, ClientToken="once")
    time.sleep(after)
    kill(own)
    client = connected(own)
    assert client.run(ami, ClientToken="once") == identity
    client.until(identity, "running")
    wait(lambda: client.boots(identity), "it does not boot")
    assert len(qemus(own)) == 1
    client.ec2.terminate_instances(InstanceIds=[identity])
    kill(own)
    client = connected(own)
    client.until(identity, "terminated")
    assert qemus(own) == []
    assert {path.name for path in Den.of(own, identity).path.iterdir()} <= {
        "console.log",
        "console.past",
    }


def test_a_server_that_is_stopped_takes_its_machines_with_it(own: Path) -> None:
    """And brings them back."""
    client = connected(own)
    identity = client.run(bootsector.register(client.ec2, client.connect("ebs")))
    client.booted(identity, ["01"])
    local.stop(own)
    wait(lambda: qemus(own) == [], "a machine outlived its server", 10)
    client = connected(own)
    client.booted(identity, ["01", "02"])


# From S3, as EC2 reads it


@pytest.fixture
def tiny(client: Client, tmp_path: Path) -> str:
    at = tinykernel.bundled(tmp_path / "bundle")
    return tinykernel.registered(at, client.home, client.connect("s3"), client.ec2)


def test_a_bundle_boots_as_its_own_menu_says(client: Client, tiny: str) -> None:
    """Kernel and command line come out of the uploaded bytes; it cannot be stopped, only ended."""
    from tests.localcloud import refused

    identity = client.run(tiny, InstanceType="m1.small")
    wait(lambda: "login:" in client.console(identity))
    assert f"Command line: {tinykernel.ARGUMENTS}\r\n" in client.console(identity)
    told = client.until(identity, "running")
    assert (told["RootDeviceType"], told["BlockDeviceMappings"]) == ("instance-store", [])
    assert refused(client.ec2.stop_instances, InstanceIds=[identity]) == "UnsupportedOperation"
    client.ec2.reboot_instances(InstanceIds=[identity])
    wait(lambda: client.console(identity).count("login:") == 2)
    client.end(identity)
    assert qemus(client.home) == []


def test_an_instance_store_is_what_s3_backed_types_alone_have(client: Client, tiny: str) -> None:
    """A type with nothing but EBS cannot run it; and a bundle has no volume to change."""
    from tests.localcloud import refused

    usual = {"ImageId": tiny, "MinCount": 1, "MaxCount": 1}
    run = client.ec2.run_instances
    assert refused(run, InstanceType="t1.micro", **usual) == "InvalidParameterCombination"
    volumes = [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 9}}]
    assert refused(run, BlockDeviceMappings=volumes, **usual) == "InvalidBlockDeviceMapping"
    asked = {"InstanceInitiatedShutdownBehavior": "stop"}
    assert refused(run, **usual, **asked) == "InvalidParameterCombination"


def pieces(home: Path) -> list[Path]:
    return sorted((home / "s3").iterdir(), key=lambda path: (path.stat().st_mtime_ns, path.name))


def test_one_flipped_byte_in_any_stored_part_is_noticed(client: Client, tiny: str) -> None:
    """The launch ends, and says what is wrong; put right again, it starts."""
    for path in pieces(client.home):
        data = bytearray(path.read_bytes())
        at = len(data) // 2
        path.write_bytes(bytes(data[:at]) + bytes((data[at] ^ 1,)) + bytes(data[at + 1 :]))
        told = client.until(client.run(tiny, InstanceType="m1.small"), "terminated")
        assert told["StateReason"]["Code"] == "Client.InvalidManifest", path
        path.write_bytes(data)
    client.until(client.run(tiny, InstanceType="m1.small"), "running")


def test_a_flipped_byte_in_a_block_is_noticed(client: Client, ami: str) -> None:
    """As in a part."""
    (stored,) = (client.home / "snapshots").iterdir()
    stored.write_bytes(b"\xff" + stored.read_bytes()[1:])
    told = client.until(client.run(ami), "terminated")
    assert told["StateReason"]["Code"].startswith("Client.InvalidSnapshot")
    assert "is not what was written" in told["StateReason"]["Message"]


def test_a_bundle_that_is_gone_or_closed_to_ec2_is_told_of(client: Client, tiny: str) -> None:
    """By the object's name, and by what it lacks."""
    s3, key = client.connect("s3"), "tiny/disk.img.part.1"
    s3.put_object_acl(Bucket=tinykernel.BUCKET, Key=key, ACL="private")
    told = client.until(client.run(tiny, InstanceType="m1.small"), "terminated")
    assert "aws-exec-read" in told["StateReason"]["Message"]
    s3.delete_object(Bucket=tinykernel.BUCKET, Key=key)
    told = client.until(client.run(tiny, InstanceType="m1.small"), "terminated")
    assert f"{key} is missing" in told["StateReason"]["Message"]


def test_another_ec2_cannot_read_the_bundle(client: Client, tiny: str, tmp_path: Path) -> None:
    """Its key is not the one that the bundle was made for."""
    key = client.home / "ec2/pk.pem"
    key.write_bytes((tmp_path / "bundle/pk.pem").read_bytes())
    told = client.until(client.run(tiny, InstanceType="m1.small"), "terminated")
    assert told["StateReason"]["Code"] == "Client.InvalidManifest"


def test_an_image_without_a_kernel_is_lent_one_or_is_told_of(client: Client, tmp_path: Path) -> None:
    """With what lies there for its AKI, as EC2 lent them in 2008; its disk then has partitions as those had."""
    at = tinykernel.bundled(tmp_path / "bundle", menu=False)
    s3, kernel = client.connect("s3"), "aki-a71cf9ce"
    ami = tinykernel.registered(at, client.home, s3, client.ec2, KernelId=kernel)
    told = client.until(client.run(ami, InstanceType="m1.small"), "terminated")
    assert told["StateReason"]["Code"] == "Client.InvalidKernel"
    assert f"kernels/{kernel}/kernel" in told["StateReason"]["Message"]
    lent = client.home / "kernels" / kernel
    lent.mkdir(parents=True)
    (lent / "kernel").write_bytes(tinykernel.kernel())
    identity = client.run(ami, InstanceType="m1.small")
    wait(lambda: "root=/dev/sda1" in client.console(identity))
    image = Den.of(client.home, identity).image
    said = subprocess.run(["sfdisk", "--dump", image], capture_output=True, text=True, check=True).stdout
    assert said.count("type=83") == 2
    assert said.count("type=82") == 1


def test_a_full_disk_is_no_fault_of_the_images(
    client: Client, ami: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launch ends as one that the server could not do, and nothing is left of it."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(noise, "volume", full)
    identity = client.run(ami)
    told = client.until(identity, "terminated")
    assert told["StateReason"]["Code"] == "Server.InternalError"
    assert "No space left" in told["StateReason"]["Message"]
    assert list(Den.of(client.home, identity).path.glob("*")) == []
