"""The stage `ssh`, against a real SSH server: the host key of the console is believed, and no other."""

import io
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks import ssh
from tasks.cloud import where
from tasks.kit.fault import CloudFault, HostFault, ToolFault
from tasks.spec.record import InstanceReceipt, Launched
from tests.clouds import LOCAL
from tests.projects import ROOT
from tests.sshds import Server, greeting, serving

AT = datetime(2026, 11, 23, tzinfo=UTC)


class World:
    def __init__(self, at, server: Server, era="today") -> None:
        self.at, self.server = at, server
        self.order = ssh.Order(image="debian-12", cloud=LOCAL, user=server.user, era=era)

    def receipt(self, *launched: Launched) -> None:
        InstanceReceipt(
            account="1" * 12, region="us-east-1", sha256="s", cloud_id="c", at=AT,
            ami="ami-1", digest="d", instances=launched,
        ).write(self.at / "instance.json")  # fmt: skip

    def up(self, name="i-1", *, keys: Any = None, port: int | None = None) -> Launched:
        told = (self.server.host_key,) if keys is None else keys
        return Launched(id=name, address="127.0.0.1", port=port or self.server.port, host_keys=told)

    def ssh(self, command="true", instance="") -> None:
        ssh.body(
            self.order,
            receipt=self.at / "instance.json",
            private_key=self.server.key,
            hosts=self.at / "known_hosts",
            home=self.at / "home",
            command=command,
            instance=instance,
        )


@pytest.fixture
def world(sshd_program, space, tmp_path):
    with serving(sshd_program, space / tmp_path.name) as server:
        yield World(tmp_path, server)


@pytest.fixture
def asked(monkeypatch):
    """What the cloud is asked, and answers."""
    answers: dict[str, Launched] = {}

    def current(_spec, _image, name, _home):
        if name not in answers:
            raise CloudFault(f"{name} is terminated", hint="doit launch:debian-12")
        return answers[name]

    monkeypatch.setattr(where, "current", current)
    monkeypatch.setattr(where, "running_ids", lambda *_: sorted(answers))
    return answers


def test_a_command_runs_there_and_its_output_is_ours(world, capfd):
    """By the receipt alone: the cloud is not asked."""
    world.receipt(world.up())
    world.ssh("echo $((6 * 7)); echo oh >&2")
    assert capfd.readouterr() == ("42\n", "oh\n")
    assert (world.at / "known_hosts").read_text() == f"i-1 {world.server.host_key}\n"


def test_its_exit_code_decides(world):
    world.receipt(world.up())
    with pytest.raises(ToolFault, match="'exit 3' ended with 3 on i-1"):
        world.ssh("exit 3")


def test_another_host_key_is_refused(world, space, sshd_program, capfd):
    """Whoever answers at that address now: nothing is sent to it."""
    with serving(sshd_program, space / f"{world.at.name}-other") as other:
        world.receipt(world.up(keys=(other.host_key,)))
        with pytest.raises(ToolFault, match=r"(?s)ended with 255.*it is another machine that answers"):
            world.ssh("touch /tmp/never")
    assert "Host key verification failed" in capfd.readouterr().err


def test_keys_that_the_console_did_not_show_are_not_believed(world, asked):
    """An image of today shows them: one that does not, yet, is waited for."""
    world.receipt(world.up(keys=()))
    with pytest.raises(CloudFault, match="does not show its host keys on its console"):
        world.ssh()


def test_an_image_of_2008_is_believed_once_and_pinned_then(world, space, sshd_program, capfd):
    """Which is said; and another key after that is refused."""
    world.order = world.order.model_copy(update={"era": "2008"})
    world.receipt(world.up(keys=()))
    world.ssh("echo in")
    said = capfd.readouterr().out
    assert "i-1 shows no host key on its console: that of its first answer is believed now" in said
    assert said.endswith("in\n")
    assert world.server.host_key in (world.at / "known_hosts").read_text()
    world.ssh("echo in")
    assert capfd.readouterr().out == "in\n"
    with serving(sshd_program, space / f"{world.at.name}-other") as other:
        world.receipt(world.up(keys=(), port=other.port))
        with pytest.raises(ToolFault, match="another machine"):
            world.ssh()


def test_the_cloud_is_asked_when_nobody_answers_where_it_was(world, asked, capfd):
    """The port is another after a restart; the host key stays the one of before."""
    world.receipt(world.up(port=1))
    asked["i-1"] = world.up(keys=("ssh-ed25519 AAAAsomebodys",))
    world.ssh("echo found")
    assert capfd.readouterr().out == "found\n"


def test_one_that_ended_is_told(world, asked):
    world.receipt(world.up(port=1))
    with pytest.raises(CloudFault, match=r"(?s)i-1 is terminated.*doit launch:debian-12"):
        world.ssh()


def test_one_that_runs_and_does_not_answer_is_told(world, asked):
    """A receipt without an address is no reason to knock at our own door."""
    world.receipt(world.up().model_copy(update={"address": ""}))
    asked["i-1"] = world.up(port=1)
    with pytest.raises(
        CloudFault, match=r"(?s)no SSH server answers at 127.0.0.1 port 1.*doit authorize"
    ):
        world.ssh()


def test_without_a_launch_it_says_what_to_type(world, asked):
    with pytest.raises(CloudFault, match=r"(?s)no instance of debian-12 runs.*doit launch:debian-12"):
        world.ssh()


def test_one_that_was_launched_elsewhere_is_found_by_its_tags(world, asked, capfd):
    asked["i-9"] = world.up("i-9")
    world.ssh("echo there")
    world.receipt(world.up())
    world.ssh("echo here", instance="i-9")
    assert capfd.readouterr().out == "there\nhere\n"
    assert "i-9 " in (world.at / "known_hosts").read_text()


def test_of_several_one_is_chosen(world, asked, capfd):
    world.receipt(world.up("i-1", port=1), world.up("i-2"))
    with pytest.raises(CloudFault, match=r"(?s)2 instances of debian-12 run.*--instance=i-1"):
        world.ssh()
    world.ssh("echo two", instance="i-2")
    assert capfd.readouterr().out == "two\n"


def test_without_a_terminal_there_is_no_shell(world, monkeypatch):
    """cron would wait for ever."""
    world.receipt(world.up())
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(HostFault, match=r"(?s)no terminal.*doit ssh:debian-12 --command="):
        world.ssh("")


def test_a_server_of_another_kind_lets_nobody_in(world):
    """It greets, and that is all it does."""
    with greeting() as port:
        world.receipt(world.up(port=port))
        with pytest.raises(ToolFault, match="ended with 255"):
            world.ssh()


SHELL = """
import sys
from pathlib import Path
from tasks import ssh
from tasks.spec.cloud import CloudSpec
at = Path(sys.argv[1])
order = ssh.Order(image="debian-12", cloud=CloudSpec(name="local", kind="local"), user=sys.argv[2], era="today")
sys.stdin.isatty = lambda: True
ssh.body(order, receipt=at / "instance.json", private_key=Path(sys.argv[3]), hosts=at / "known_hosts", home=at,
         command="", instance="")
print("home again")
"""


def test_a_shell_takes_what_is_typed(world):
    """And however it ends, that is its user's business. That it has the terminal, tests/kit/test_proc.py sees."""
    world.receipt(world.up())
    argv = [sys.executable, "-c", SHELL, str(world.at), world.server.user, str(world.server.key)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    typed = "echo $((6 * 7)); exit 7\n"
    done = subprocess.run(
        argv, input=typed, env=env, cwd=world.at, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "42\nhome again\n"


def test_an_order_is_made_of_the_configuration(monkeypatch):
    from tasks.spec.load import load

    monkeypatch.chdir(ROOT)
    project = load()
    image = project.image("centos-4.7-i386")
    assert image
    made = ssh.Order.of(image, project.cloud)
    assert (made.image, made.user, made.era) == ("centos-4.7-i386", "root", "2008")
