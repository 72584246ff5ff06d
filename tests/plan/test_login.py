"""How one logs in: host keys read from a console, and a command line that believes no other."""

import shlex
from pathlib import Path

import pytest

from tasks.plan.login import Login, known_hosts, shown
from tasks.spec.record import Launched

KEYS = ("ecdsa-sha2-nistp256 AAAAE2Vj", "ssh-ed25519 AAAAC3Nz")
CONSOLE = f"""[    1.0] Linux\r
-----BEGIN SSH HOST KEY KEYS-----\r
{KEYS[0]} root@host\r
{KEYS[1]}\r
-----END SSH HOST KEY KEYS-----\r
ssh-ed25519 AAAAother outside\r
login: """


def login(host_keys=KEYS, known_hosts="build/debian-12/local/known_hosts", era="today"):
    to = Launched(id="i-1", address="192.0.2.7", port=2222, host_keys=host_keys)
    return Login(to, "root", Path("build/keys/debian-12/ssh_key"), Path(known_hosts), era)


def test_host_keys_are_those_between_the_lines():
    """Ours, and cloud-init's with its prefix; not what somebody writes to the console later."""
    assert shown(CONSOLE) == KEYS
    assert (
        shown(
            f"{CONSOLE}\n-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 AAAAevil\n-----END SSH HOST KEY KEYS-----"
        )
        == KEYS
    )
    assert shown(CONSOLE.replace("\n", "\nec2: ")) == KEYS
    assert shown("nothing yet") == ()
    assert shown(CONSOLE.partition("-----END")[0]) == ()


def test_hosts_are_known_by_their_instances():
    """An address may be somebody else's tomorrow."""
    assert known_hosts({"i-2": ("b",), "i-1": ("a", "c")}) == "i-1 a\ni-1 c\ni-2 b\n"


def test_a_pinned_host_key_is_the_only_one_believed():
    argv = login().argv("uname -a")
    assert argv[:5] == ("ssh", "-F", "none", "-i", "build/keys/debian-12/ssh_key")
    assert {
        "-oStrictHostKeyChecking=yes",
        "-oHostKeyAlias=i-1",
        "-oUserKnownHostsFile=build/debian-12/local/known_hosts",
        "-oIdentitiesOnly=yes",
    } < set(argv)
    assert argv[-4:] == ("-p", "2222", "root@192.0.2.7", "uname -a")


def test_what_is_printed_can_be_typed():
    assert shlex.split(str(login())) == list(login().argv())


def test_an_image_of_2008_is_believed_once_and_spoken_to_as_of_then():
    argv = login((), era="2008").argv()
    assert "-oStrictHostKeyChecking=accept-new" in argv
    assert "-oHostKeyAlgorithms=+ssh-rsa" in argv


@pytest.mark.parametrize(("path", "told"), [("a b/k", '"a b/k"'), ("100%/k", "100%%/k")])
def test_odd_paths_reach_ssh_whole(path, told):
    """It reads words and percent signs in this option."""
    assert f"-oUserKnownHostsFile={told}" in login(known_hosts=path).argv()
