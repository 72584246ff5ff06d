"""Instances on their way up: told from those that never will be."""

import base64
import socket
from typing import Any

import pytest
from botocore.stub import Stubber

from tasks.cloud import arrival
from tasks.cloud.arrival import Signs
from tests.clouds import Heard
from tests.plan.test_login import CONSOLE, KEYS
from tests.sshds import greeting

ALL = Signs(greets=True, shows_keys=True, latest=False, timeout=10)


class Clock:
    """Goes on when somebody waits."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at

    def pause(self, seconds: float) -> None:
        self.at += seconds


def shown(name: str = "i-1", state: str = "running", port: int | None = None, **more: Any) -> Any:
    tags = [{"Key": "aws:local:tcp/22", "Value": f"127.0.0.1:{port}"}] if port else []
    return {"InstanceId": name, "State": {"Name": state}, "Tags": tags, **more}


@pytest.fixture
def client(account):
    return account.ec2()


def awaited(
    client: Any, signs: Signs, *looks: list[Any], consoles: tuple[str, ...] = (), ids=("i-1",)
) -> Any:
    """`looks`: what each look at the list shows; `consoles`: what each look at a console does."""
    stub, clock, report = Stubber(client), Clock(), Heard()
    said = iter(consoles)
    get = client.get_console_output

    def console(**asked: Any) -> Any:
        assert asked["InstanceId"] in ids
        return {"Output": next(said)}

    client.get_console_output = console
    for look in looks:
        stub.add_response("describe_instances", {"Reservations": [{"Instances": look}]})
    try:
        with stub:
            came = arrival.awaited(client, ids, signs, report, pause=clock.pause, clock=clock)
            stub.assert_no_pending_responses()
    finally:
        client.get_console_output = get
    return came, report.texts


def test_an_instance_is_up_when_it_greets_and_shows_its_keys(client):
    """And all that is said meanwhile is what it waits for."""
    with greeting() as port, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        silent = closed.getsockname()[1]
        came, texts = awaited(
            client,
            Signs(greets=True, shows_keys=True, latest=False, timeout=30),
            [],
            [shown(state="pending")],
            [shown()],
            [shown(port=silent)],
            [shown(port=port)],
            [shown(port=port)],
            consoles=("[ 1.0] Linux", CONSOLE),
        )
    assert came.lost == {}
    (up,) = came.up.values()
    assert (up.id, up.address, up.port, up.host_keys) == ("i-1", "127.0.0.1", port, KEYS)
    assert [text.removeprefix("i-1: ") for text in texts] == [
        "EC2 does not show it yet",
        "it is pending",
        "it is running, and has no address yet",
        f"it is running, but no SSH server answers at 127.0.0.1 port {silent}",
        "it is running, but its console does not show its host keys",
    ]


def test_one_that_ended_by_itself_is_lost_at_once(client):
    """With what EC2 says of it."""
    reason = {"Code": "Server.InternalError", "Message": "Client.InternalError: on launch"}
    came, _ = awaited(client, ALL, [shown(state="terminated", StateReason=reason)])
    assert came.lost == {"i-1": "it is ended (terminated): Client.InternalError: on launch"}


def test_one_that_is_not_reached_in_time_is_lost(client):
    came, _ = awaited(client, ALL, *[[shown()]] * 7)
    assert came.lost == {"i-1": "after 10 s it is running, and has no address yet"}


def test_one_that_no_list_ever_shows_is_lost(client):
    """A minute is what lists may lag behind."""
    signs = Signs(greets=True, shows_keys=True, latest=False, timeout=900)
    came, _ = awaited(client, signs, *[[]] * 32)
    assert came.lost == {"i-1": "it is ended, and forgotten"}


def test_some_come_up_and_some_do_not(client):
    """Those that are up are looked at no more."""
    with greeting() as port:
        came, _ = awaited(
            client,
            ALL,
            [shown("i-1", port=port), shown("i-2", "pending")],
            [shown("i-2", "terminated")],
            ids=("i-1", "i-2"),
            consoles=(CONSOLE,),
        )
    assert set(came.up) == {"i-1"}
    assert came.lost == {"i-2": "it is ended (terminated): EC2 gives no reason"}


def test_where_nobody_is_let_in_nobody_is_waited_for(client):
    """A closed port says nothing; the console does, and for an image of 2008 there is only the state."""
    inside = Signs(greets=False, shows_keys=True, latest=False, timeout=10)
    came, _ = awaited(client, inside, [shown()], consoles=(CONSOLE,))
    assert came.up["i-1"].host_keys == KEYS
    old = Signs(greets=False, shows_keys=False, latest=False, timeout=10)
    came, _ = awaited(client, old, [shown()])
    assert came.up["i-1"].host_keys == ()


def test_last_words_are_the_end_of_the_console(client):
    """With nothing on it, that is what is said."""
    said = "".join(f"line {number}\r\n" for number in range(40))
    with Stubber(client) as stub:
        stub.add_response("get_console_output", {"Output": base64.b64encode(said.encode()).decode()})
        stub.add_response("get_console_output", {})
        words = arrival.last_words(client, "i-1", latest=False)
        assert arrival.last_words(client, "i-1", latest=False) == ["i-1: nothing is on its console"]
        stub.add_client_error("get_console_output", "InvalidInstanceID.NotFound", "it does not exist")
        (none,) = arrival.last_words(client, "i-1", latest=False)
        assert none == "i-1: could not read the console: it does not exist"
    assert (len(words), words[-1]) == (25, "i-1: line 39")
