"""The journal of an upload: what it says is true, and what may not be true it does not say."""

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.cloud.journal import Head, Journal

HEAD = Head(
    account="1", region="r", cloud_id="", image="i", sha256="s", digest="d", parent="", delta="e", attempt=1
)  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "upload.journal"


def read(path: Path) -> Journal:
    found = Journal.read(path)
    assert found
    return found


def filled(path):
    journal = Journal.begun(path, HEAD).opened()
    journal.started("snap-1")
    for index in range(5):
        journal.acknowledge(index, f"{index:064x}")
    journal.complete()
    journal.close()
    return journal


def test_what_was_written_is_read(path):
    """Head, snapshot, blocks, and that all were there; none, where there is no file."""
    assert Journal.read(path) is None
    filled(path)
    found = read(path)
    assert (found.head, found.snapshot, found.completing, found.damaged) == (HEAD, "snap-1", True, 0)
    assert found.acknowledged == {index: f"{index:064x}" for index in range(5)}


@pytest.mark.parametrize("cut", range(1, 90, 7))
def test_what_was_torn_off_is_not_believed_and_not_built_upon(path, cut):
    """Cut anywhere, it is as if the last lines had never been; and what is added then is read."""
    filled(path)
    path.write_bytes(path.read_bytes()[:-cut])
    found = read(path)
    assert found.damaged == 0
    assert set(found.acknowledged) <= set(range(5))
    found.opened().acknowledge(9, "f" * 64)
    found.close()
    again = read(path)
    assert (again.damaged, again.acknowledged[9]) == (0, "f" * 64)
    assert {**again.acknowledged, 9: ""} == {**found.acknowledged, 9: ""}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.data())
def test_one_wrong_byte_makes_nothing_true_that_is_not(path, data):
    """Whatever it becomes, and wherever: no block is taken for acknowledged as what it was not, and no other snapshot is named."""
    filled(path)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    found = read(path)
    assert found.head in (HEAD, None)
    assert found.snapshot in ("snap-1", "")
    assert all(sha256 == f"{index:064x}" for index, sha256 in found.acknowledged.items())


def test_acknowledgements_of_many_at_once_are_whole_lines(path):
    """Each is one write at the end."""
    journal = Journal.begun(path, HEAD).opened()

    def some(first):
        for index in range(first, first + 200):
            journal.acknowledge(index, f"{index:064x}")

    threads = [threading.Thread(target=some, args=(200 * each,)) for each in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    found = read(path)
    assert (len(found.acknowledged), found.damaged) == (1600, 0)


def test_the_token_follows_from_all_that_is_asked_for():
    """The same request has the same, and any other another; it has the 64 characters that EBS allows."""
    assert len(HEAD.token) == 64
    assert HEAD.token == HEAD.model_copy().token
    others: list[dict[str, Any]] = [
        {"attempt": 2},
        {"delta": "x"},
        {"parent": "snap-1"},
        {"sha256": "x"},
        {"region": "x"},
    ]
    assert len({HEAD.token, *(HEAD.model_copy(update=each).token for each in others)}) == 6
