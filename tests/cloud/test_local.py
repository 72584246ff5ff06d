"""The local cloud's door: one server, found again, never mistaken for another, gone when nobody wants it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.cloud import local
from tasks.cloud.local import door
from tasks.kit import files
from tasks.kit.fault import CloudFault
from tests import clouds

ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def own(tmp_path):
    """A home whose cloud a test may kill."""
    yield tmp_path / "own"
    local.stop(tmp_path / "own")


def gone(pid: int) -> bool:
    """Within some seconds: the server looks every two."""
    deadline = time.monotonic() + 8
    while door.start_time(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    return door.start_time(pid) is None


def stand_in(home: Path, **more: object) -> None:
    """A state file that tells of this very process."""
    home.mkdir(parents=True, exist_ok=True)
    mine = {
        "pid": os.getpid(),
        "started": door.start_time(os.getpid()),
        "port": 9,
        "id": "mine",
        "cloud": "x",
        "home": str(home),
    }
    (home / "cloud.json").write_text(json.dumps({**mine, **more}))


def test_it_starts_once_and_is_found_again(own):
    """A later run, in another process, finds the same cloud."""
    fresh = local.endpoint(own)
    assert local.endpoint(own) == fresh == local.running(own)
    asked = f"from pathlib import Path; from tasks.cloud import local; print(local.endpoint(Path({str(own)!r})).url)"
    found = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert found.stdout.strip() == fresh.url
    assert fresh.url.startswith("http://127.0.0.1:")


def test_it_is_a_session_of_its_own_and_bound_to_this_machine_alone(own):
    """A Ctrl-C at the terminal does not reach it, and nobody outside does."""
    local.endpoint(own)
    pid = int(str(clouds.state(own)["pid"]))
    assert os.getsid(pid) == pid == os.getpgid(pid)
    port = f"{int(str(clouds.state(own)['port'])):04X}"
    listening = [
        line.split()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()
        if line.split()[3] == "0A"
    ]
    assert f"0100007F:{port}" in listening
    assert f"00000000:{port}" not in listening


def test_many_starters_start_one_server(own):
    """Two runs of doit at the same moment share one cloud."""
    with ThreadPoolExecutor(6) as pool:
        found = set(pool.map(lambda _: local.endpoint(own), range(6)))
    assert len(found) == 1


def test_to_look_costs_next_to_nothing_and_imports_no_boto(fresh, home, tmp_path):
    """It is asked on every run of doit, once for each receipt."""
    receipt = tmp_path / "ami.json"
    receipt.write_text(json.dumps({"cloud_id": fresh.id, "objects": ["x"] * 500}))
    began = time.perf_counter()
    for _ in range(20):
        assert local.running(home)
        assert not local.forgotten(receipt, home)
    assert (time.perf_counter() - began) / 20 < 0.005
    asked = "import sys, tasks.cloud.local; print([name for name in sys.modules if name.startswith(('boto', 'moto'))])"
    found = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert found.stdout.strip() == "[]"


def test_it_stops_and_forgets_nothing(own, tmp_path):
    """`stop` says whether there was one. Its receipts are good for as long as its folder is; those of AWS always."""
    assert not local.exists(own)
    there = local.endpoint(own)
    receipt, of_aws, broken = tmp_path / "local.json", tmp_path / "aws.json", tmp_path / "broken.json"
    files.write_json(receipt, {"cloud_id": there.id})
    files.write_json(of_aws, {"cloud_id": ""})
    broken.write_text("{")
    assert not local.forgotten(receipt, own)
    pid = int(str(clouds.state(own)["pid"]))
    assert local.stop(own)
    assert not local.stop(own)
    assert door.start_time(pid) is None
    assert local.running(own) is None
    assert local.exists(own)
    assert not local.forgotten(receipt, own)
    assert local.endpoint(own).id == there.id
    assert local.stop(own)
    shutil.rmtree(own)
    assert not local.exists(own)
    assert local.forgotten(receipt, own)
    assert local.forgotten(broken, own)
    assert not local.forgotten(of_aws, own)
    assert local.endpoint(own).id != there.id
    assert local.forgotten(receipt, own), "another cloud does not know what the first one held"


def test_the_database_knows_which_cloud_it_is(own, tmp_path):
    """The file beside it is for those who only look; a database that was deleted takes the cloud with it."""
    there = local.endpoint(own)
    local.stop(own)
    door.id_file(own).write_text("another\n")
    assert local.endpoint(own).id == there.id == door.known(own)
    local.stop(own)
    for each in own.glob("cloud.sqlite*"):
        each.unlink()
    assert door.known(own) == ""
    assert local.endpoint(own).id != there.id


def test_a_copied_folder_is_a_cloud_of_its_own(own, tmp_path):
    """The server that its state file names is the other's; what it holds, it holds as the other did."""
    there = local.endpoint(own)
    copy = tmp_path / "copy"
    shutil.copytree(own, copy)
    try:
        assert local.running(copy) is None
        assert local.endpoint(copy).url != there.url
        assert local.endpoint(copy).id == there.id
        assert local.running(own) == there
    finally:
        local.stop(copy)


def test_a_killed_server_is_replaced(own):
    """SIGKILL leaves a state file that is not believed. It is the same cloud, served by another process."""
    first = local.endpoint(own)
    before = int(str(clouds.state(own)["pid"]))
    os.kill(before, signal.SIGKILL)
    assert gone(before)
    assert local.running(own) is None
    second = local.endpoint(own)
    assert second.id == first.id
    assert int(str(clouds.state(own)["pid"])) != before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1}'])
def test_a_broken_state_file_is_no_cloud(tmp_path, text):
    """Whatever stands there, nothing is raised."""
    (tmp_path / "cloud.json").write_text(text)
    assert local.running(tmp_path) is None


def test_a_process_id_that_is_somebody_elses_now_is_left_alone(own):
    """The kernel's start time tells the two apart; nothing is killed."""
    stand_in(own, started=1)
    assert local.running(own) is None
    assert not local.stop(own)
    stand_in(own, started=1)
    there = local.endpoint(own)
    assert there.id != "mine"
    assert int(str(clouds.state(own)["pid"])) != os.getpid()


def test_a_port_that_is_somebody_elses_is_not_our_cloud(own, fresh):
    """A process of ours lives, but on its port another server answers: it is ended, and a new one started."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "mine"])
    port = int(fresh.url.rpartition(":")[2])
    stand_in(own, pid=sleeper.pid, started=door.start_time(sleeper.pid), port=port)
    assert local.endpoint(own).url != fresh.url
    assert sleeper.wait(5) == -signal.SIGTERM


def test_nothing_is_ended_that_does_not_bear_the_clouds_id(own):
    """Not even when the state file names it: here it names this very process."""
    stand_in(own)
    assert not local.stop(own)
    stand_in(own)
    assert local.endpoint(own).id != "mine"


def test_the_server_ends_when_its_state_file_is_gone(own):
    """`rm -r build` leaves no process behind."""
    local.endpoint(own)
    pid = int(str(clouds.state(own)["pid"]))
    (own / "cloud.json").unlink()
    assert gone(pid)


def test_a_server_whose_state_names_another_ends(own):
    """Two of them never last."""
    local.endpoint(own)
    pid = int(str(clouds.state(own)["pid"]))
    stand_in(own)
    assert gone(pid)


def test_a_starter_killed_midway_leaves_a_cloud_that_is_found(own):
    """The server tells of itself, so nobody is lost with the one who started it."""
    asked = (
        f"from pathlib import Path; from tasks.cloud import local; local.endpoint(Path({str(own)!r}))"
    )
    starter = subprocess.Popen([sys.executable, "-c", asked], cwd=ROOT)
    while not (own / "cloud.log").exists():  # it was detached a moment later
        time.sleep(0.005)
    time.sleep(0.05)
    starter.kill()
    starter.wait()
    there = local.endpoint(own)
    deadline = time.monotonic() + 8
    while len(servers(own)) > 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(servers(own)) == 1
    assert local.running(own) == there


def servers(home: Path) -> list[Path]:
    """The processes that serve a home."""
    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(home).encode() in reading(path)]


def reading(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_a_server_that_cannot_start_says_why(own, monkeypatch):
    """Its last words, and where all of them are."""
    monkeypatch.setattr(door, "ROOT", "/nowhere")
    with pytest.raises(CloudFault) as caught:
        local.endpoint(own)
    assert "No module named" in str(caught.value)
    assert str(own / "cloud.log") in str(caught.value)
