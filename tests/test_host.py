"""The host is looked at as a whole, and what it lacks is told with the reason and the remedy."""

import http.server
import re
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from tasks import host
from tasks.kit.fault import ConfigFault, HostFault
from tasks.spec.tool import Tool

SH = Tool("sh", "to run scripts", "dash", "bash")


def order(tmp_path: Path, *tools: Tool, mirrors: tuple[str, ...] = (), space: int = 1) -> host.Order:
    needs = host.Needs(space=space, mirrors=mirrors, tools=tools)
    return host.Order(build=str(tmp_path / "build"), usual=("image",), images={"image": needs})


def test_a_host_that_has_everything_passes(tmp_path, capsys):
    """With a line for each thing."""
    host.body(order(tmp_path, SH))
    said = capsys.readouterr().out
    assert "ok      sh " in said
    assert "namespaces can be made" in said
    assert "MISSING" not in said


def test_all_that_is_missing_is_told_with_its_reason(tmp_path, capsys):
    """Green lines and red ones, and what to type."""
    lacking = (Tool("no-such-a", "to do a", "a", "a"), Tool("no-such-b", "to do b", "b", "b"))
    with pytest.raises(HostFault, match=r"lacks 3 thing\(s\)") as caught:
        host.body(order(tmp_path, SH, *lacking, space=1 << 60))
    assert caught.value.evidence[:2] == ("no-such-a: needed to do a", "no-such-b: needed to do b")
    assert "GiB free at" in caught.value.evidence[2]
    assert "make room, or write another `build`" in caught.value.evidence[2]
    assert caught.value.hint == "doit host --install"
    assert "MISSING no-such-a" in capsys.readouterr().out


def test_a_file_may_be_needed_and_any_of_its_places_will_do(tmp_path, capsys):
    """Firmware and boot loaders are no programs, and each distribution has its own place for them."""
    there = tmp_path / "there.fd"
    places = (str(tmp_path / "fedora.fd"), str(there))
    firmware = Tool("a firmware", "to boot by it", "ovmf", "edk2-ovmf", places)
    with pytest.raises(HostFault, match=r"lacks 1 thing\(s\)") as caught:
        host.body(order(tmp_path, firmware))
    told = f"a firmware: needed to boot by it; none of these is there: {', '.join(places)}"
    assert caught.value.evidence == (told,)
    assert caught.value.hint == "doit host --install"
    with pytest.raises(HostFault, match="a firmware is not installed; it is needed to boot by it"):
        _ = firmware.path
    there.touch()
    host.body(order(tmp_path, firmware))
    assert "ok      a firmware " in capsys.readouterr().out
    assert firmware.path == there


def test_one_image_is_looked_at_alone(tmp_path, capsys):
    """What another lacks is no concern of whoever builds this one."""
    two = order(tmp_path, SH)
    lacking = host.Needs(space=1, mirrors=(), tools=(Tool("no-such-a", "to do a", "a", "a"),))
    two = two.model_copy(update={"images": {**two.images, "other": lacking}})
    host.body(two)
    with pytest.raises(HostFault, match=r"lacks 1 thing\(s\)"):
        host.body(two, image="other")
    with pytest.raises(ConfigFault, match="there is no image othr") as caught:
        host.body(two, image="othr")
    assert caught.value.hint == "one of: image, other"


def test_the_tools_of_a_mirror_are_needed_when_one_is_made(tmp_path):
    """Because somebody asks, or because the site's images are made of one."""
    base = order(tmp_path, SH)
    mirrored = base.images["image"].model_copy(
        update={"mirror_tools": (Tool("no-such-a", "to do a", "a", "a"),)}
    )
    wanted = base.model_copy(update={"images": {"image": mirrored}})
    host.body(wanted)
    with pytest.raises(HostFault, match=r"lacks 1 thing\(s\)"):
        host.body(wanted, mirror=True)
    with pytest.raises(HostFault, match=r"lacks 1 thing\(s\)"):
        host.body(wanted.model_copy(update={"mirrored": True}))


@pytest.fixture
def clock():
    """A mirror whose clock runs `ahead` of ours."""

    class Handler(http.server.BaseHTTPRequestHandler):
        ahead = timedelta()

        def do_HEAD(self):
            self.send_response_only(404)
            self.send_header("Date", format_datetime(datetime.now(UTC) + self.ahead, usegmt=True))
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        yield Handler, f"http://127.0.0.1:{server.server_port}/debian"
        server.shutdown()


@pytest.mark.parametrize(("minutes", "fine"), [(0, True), (4, True), (20, False), (-20, False)])
def test_a_clock_that_is_off_is_noticed(tmp_path, clock, minutes, fine, capsys):
    """AWS refuses requests that are 5 minutes off with "Request has expired", long after the build."""
    handler, mirror = clock
    handler.ahead = timedelta(minutes=minutes)
    if fine:
        host.body(order(tmp_path, SH, mirrors=(mirror,)))
    else:
        with pytest.raises(HostFault) as caught:
            host.body(order(tmp_path, SH, mirrors=(mirror,)))
        told = re.fullmatch(r"clock: ([+-]\d+) s off: run an NTP client", caught.value.evidence[0])
        assert told
        assert abs(int(told[1]) + minutes * 60) <= 2  # a Date header has whole seconds
    assert "clock" in capsys.readouterr().out


def test_a_mirror_that_does_not_answer_is_told_of(tmp_path):
    """Before an hour of building on hope."""
    with pytest.raises(HostFault) as caught:
        host.body(order(tmp_path, SH, mirrors=("http://127.0.0.1:9/debian",)))
    assert caught.value.evidence == ("mirror: none of these answered: http://127.0.0.1:9/debian",)


def test_missing_packages_are_installed_by_the_hosts_own_manager(tmp_path, monkeypatch):
    """apt's names on a host with apt, dnf's on one with dnf; each package once."""
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(host, "run", lambda command, seen: ran.append(command.argv))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    tools = [Tool("no-such-a", "", "a-deb", "a-rpm"), Tool("no-such-b", "", "a-deb", "b-rpm")]
    for manager in host.MANAGERS:
        host._install(manager, tools)
    assert ran[0] == ("apt-get", "update", "-q")
    assert ran[1][-1:] == ("a-deb",)
    assert ran[2][:3] == ("dnf", "install", "-y")
    assert ran[2][-2:] == ("a-rpm", "b-rpm")


def test_without_root_and_sudo_the_command_is_told(tmp_path, monkeypatch):
    """Whoever has root can paste it."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(host, "tool", lambda name: None)
    with pytest.raises(HostFault, match="installing needs root") as caught:
        host._install(host.MANAGERS[0], [Tool("no-such-a", "", "a-deb", "a-rpm")])
    assert caught.value.evidence[0].startswith("as root: apt-get install")
    assert caught.value.evidence[0].endswith(" a-deb")
