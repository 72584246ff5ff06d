"""EBS's direct APIs on the local cloud: strict where AWS is, and nothing that was acknowledged is lost."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tasks.cloud import local
from tasks.cloud.local import door
from tasks.cloud.local.ebs import Damaged, blocks, snapshots, tokens, volume
from tasks.cloud.local.ebs.volume import written
from tasks.cloud.local.refusal import Refusal
from tests.localcloud import client_at, refused
from tests.localsnapshots import (
    SIZE,
    aggregate,
    checksum,
    content,
    files,
    held,
    made,
    put,
    reason,
    started,
)

OTHER = "210987654321"
KEY = "arn:aws:kms:us-east-1:123456789012:key/0e7fdb7c-0000-4000-8000-000000000000"
NOWHERE = "snap-0123456789abcdef0"


@pytest.fixture
def ebs(localcloud):
    return localcloud.client("ebs")


def aged(localcloud, snapshot: str, minutes: float) -> None:
    """As if nothing had come for so long."""
    store = localcloud.server.store
    things = store.things("snapshot", "123456789012", "us-east-1")
    with store.change():
        thing = things.get(snapshot)
        things.save(snapshot, thing | {"Touched": thing["Touched"] - minutes * 60})


def test_a_snapshot_holds_what_was_put_into_it(ebs):
    """In the order of the indices, whatever the order of their coming; nothing else, and all of it after a second put."""
    blocks = {7: "a", 0: "b", 2047: "c"}
    snapshot = started(ebs, blocks)
    assert put(ebs, snapshot, 7, "d")["Checksum"] == checksum(content("d"))
    blocks[7] = "d"
    told = {
        "Checksum": aggregate(blocks),
        "ChecksumAlgorithm": "SHA256",
        "ChecksumAggregationMethod": "LINEAR",
    }
    assert (
        ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=3, **told)["Status"] == "completed"
    )
    assert list(held(ebs, snapshot).items()) == [(0, "b"), (7, "d"), (2047, "c")]


def test_start_says_what_it_began(ebs):
    """Size of the blocks, owner, tags and all."""
    told = ebs.start_snapshot(
        VolumeSize=65536, Description="root", Tags=[{"Key": "a", "Value": "b"}], Timeout=10
    )
    assert told["BlockSize"] == SIZE
    assert told["VolumeSize"] == 65536
    assert told["Status"] == "pending"
    assert told["OwnerId"] == "123456789012"
    assert told["Description"] == "root"
    assert told["Tags"] == [{"Key": "a", "Value": "b"}]
    assert abs(told["StartTime"].timestamp() - time.time()) < 60


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"VolumeSize": 65537}, "INVALID_VOLUME_SIZE"),
        ({"Timeout": 4321}, "INVALID_PARAMETER_VALUE"),
        ({"Description": "x" * 256}, "INVALID_PARAMETER_VALUE"),
        ({"Tags": [{"Key": "a", "Value": "b"}] * 2}, "INVALID_TAG"),
        ({"Tags": [{"Key": "aws:a", "Value": "b"}]}, "INVALID_TAG"),
        ({"Tags": [{"Key": "a", "Value": "b" * 256}]}, "INVALID_TAG"),
        ({"Tags": [{"Key": f"{n}", "Value": "b"} for n in range(51)]}, "INVALID_TAG"),
        ({"Encrypted": False, "KmsKeyArn": KEY}, "INVALID_PARAMETER_VALUE"),
        ({"Encrypted": True, "KmsKeyArn": "alias/mine"}, "INVALID_CUSTOMER_KEY"),
        ({"ParentSnapshotId": "snap-xyz"}, "INVALID_SNAPSHOT_ID"),
        ({"ParentSnapshotId": NOWHERE}, "SNAPSHOT_NOT_FOUND"),
    ],
)
def test_start_refuses(ebs, localcloud, asked, why):
    """What AWS refuses, and nothing is begun."""
    assert reason(ebs.start_snapshot, **{"VolumeSize": 1, **asked}) == why
    assert localcloud.client("ec2").describe_snapshots()["Snapshots"] == []


def test_the_least_timeout_is_told_as_well(localcloud):
    """boto3 refuses it by itself; whoever sends it nevertheless is told."""
    ebs = localcloud.client("ebs", parameter_validation=False)
    assert reason(ebs.start_snapshot, VolumeSize=1, Timeout=9) == "INVALID_PARAMETER_VALUE"
    assert reason(ebs.start_snapshot, VolumeSize=0) == "INVALID_PARAMETER_VALUE"


def test_a_parent_is_completed_ours_and_no_larger(ebs, localcloud):
    """And says by itself whether its children are encrypted."""
    parent = made(ebs, {0: "a"}, VolumeSize=2)
    assert reason(ebs.start_snapshot, VolumeSize=1, ParentSnapshotId=parent) == "INVALID_VOLUME_SIZE"
    for asked in ({"Encrypted": False}, {"Encrypted": True}, {"KmsKeyArn": KEY}):
        why = reason(ebs.start_snapshot, VolumeSize=2, ParentSnapshotId=parent, **asked)
        assert why == "INVALID_PARAMETER_VALUE"
    pending = started(ebs)
    assert reason(ebs.start_snapshot, VolumeSize=1, ParentSnapshotId=pending) == "INVALID_SNAPSHOT_ID"
    theirs = localcloud.client("ebs", account=OTHER)
    assert reason(theirs.start_snapshot, VolumeSize=2, ParentSnapshotId=parent) == "UNAUTHORIZED_ACCOUNT"
    elsewhere = localcloud.client("ebs", region="eu-west-1")
    assert (
        reason(elsewhere.start_snapshot, VolumeSize=2, ParentSnapshotId=parent) == "SNAPSHOT_NOT_FOUND"
    )


def test_encryption_is_as_the_table_of_the_user_guide(ebs, localcloud):
    """By a key, by the account's usual key, or by the parent's."""
    usual = ebs.start_snapshot(VolumeSize=1, Encrypted=True)
    assert ":kms:us-east-1:123456789012:key/" in usual["KmsKeyArn"]
    own = localcloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    parent = made(ebs, {}, KmsKeyArn=own)
    assert ebs.start_snapshot(VolumeSize=1, ParentSnapshotId=parent)["KmsKeyArn"] == own
    assert "KmsKeyArn" not in ebs.start_snapshot(VolumeSize=1, Encrypted=False)
    shown = localcloud.client("ec2").describe_snapshots(SnapshotIds=[parent])["Snapshots"][0]
    assert (shown["Encrypted"], shown["KmsKeyId"]) == (True, own)


def test_a_child_has_its_parents_blocks(ebs):
    """Its own before those of its parent; only its own count as changed; and so do its children's children."""
    parent = made(ebs, {0: "a", 1: "b"})
    child = made(ebs, {1: "c", 2: "d"}, ParentSnapshotId=parent, VolumeSize=2)
    grandchild = made(ebs, {0: "e"}, ParentSnapshotId=child, VolumeSize=2)
    assert held(ebs, child) == {0: "a", 1: "c", 2: "d"}
    assert held(ebs, grandchild) == {0: "e", 1: "c", 2: "d"}
    assert held(ebs, parent) == {0: "a", 1: "b"}


def test_a_client_token_is_for_one_request(ebs):
    """The same request again: the same snapshot. Another: a conflict."""
    once = ebs.start_snapshot(VolumeSize=1, ClientToken="t", Tags=[{"Key": "a", "Value": "b"}])
    again = ebs.start_snapshot(VolumeSize=1, ClientToken="t", Tags=[{"Key": "a", "Value": "b"}])
    del once["ResponseMetadata"], again["ResponseMetadata"]
    assert once == again
    assert refused(ebs.start_snapshot, VolumeSize=2, ClientToken="t") == "ConflictException"


def test_a_hundred_may_be_pending(ebs):
    """Then one has to be completed first."""
    pending = [started(ebs) for _ in range(100)]
    assert refused(ebs.start_snapshot, VolumeSize=1) == "ConcurrentLimitExceededException"
    ebs.complete_snapshot(SnapshotId=pending[0], ChangedBlocksCount=0)
    started(ebs)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"BlockIndex": 2048}, "INVALID_BLOCK"),
        ({"DataLength": 512}, "INVALID_PARAMETER_VALUE"),
        ({"BlockData": b"short"}, "INVALID_PARAMETER_VALUE"),
        ({"BlockData": content("a") + b"b"}, "INVALID_PARAMETER_VALUE"),
        ({"BlockData": content("a") * 3}, "INVALID_PARAMETER_VALUE"),
        ({"Checksum": checksum(b"other")}, "INVALID_PARAMETER_VALUE"),
        ({"Progress": 101}, "INVALID_PARAMETER_VALUE"),
        ({"SnapshotId": NOWHERE}, "SNAPSHOT_NOT_FOUND"),
        ({"ChecksumAlgorithm": "MD5"}, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_put_refuses(ebs, asked, why):
    """And no block counts as written."""
    snapshot = started(ebs)
    assert reason(put, ebs, snapshot, 0, "a", **asked) == why
    ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=0)


def test_a_block_needs_its_checksum(localcloud):
    """It is not signed otherwise."""
    ebs = localcloud.client("ebs", parameter_validation=False)
    snapshot = started(ebs)
    with pytest.raises(ClientError):
        ebs.put_snapshot_block(
            SnapshotId=snapshot, BlockIndex=0, BlockData=content("a"), DataLength=SIZE
        )


def test_only_its_owner_writes_while_it_is_pending(ebs, localcloud):
    """Completed is completed."""
    snapshot = started(ebs, {0: "a"})
    theirs = localcloud.client("ebs", account=OTHER)
    assert reason(put, theirs, snapshot, 0, "b") == "UNAUTHORIZED_ACCOUNT"
    asked = {"SnapshotId": snapshot, "ChangedBlocksCount": 1}
    assert reason(theirs.complete_snapshot, **asked) == "UNAUTHORIZED_ACCOUNT"
    ebs.complete_snapshot(**asked)
    assert reason(put, ebs, snapshot, 0, "b") == "INVALID_SNAPSHOT_ID"
    assert ebs.complete_snapshot(**asked)["Status"] == "completed"
    assert held(ebs, snapshot) == {0: "a"}


@pytest.mark.parametrize(
    "told",
    [
        {"ChangedBlocksCount": 1},
        {"ChangedBlocksCount": 3},
        {"Checksum": checksum(b"")},
        {"Checksum": aggregate({1: "a", 0: "b"}), "ChecksumAlgorithm": "SHA256"},
        {"ChecksumAlgorithm": "SHA256", "ChecksumAggregationMethod": "LINEAR"},
        {"Checksum": aggregate({0: "a", 1: "b"}), "ChecksumAlgorithm": "SHA256", "ChecksumAggregationMethod": "LINEAR"},
    ],
)  # fmt: skip
def test_complete_refuses_what_was_not_written(ebs, told):
    """Count and check sum are those of the blocks; it stays pending."""
    snapshot = started(ebs, {1: "a", 0: "b"})
    asked = {"SnapshotId": snapshot, "ChangedBlocksCount": 2, **told}
    assert reason(ebs.complete_snapshot, **asked) == "INVALID_PARAMETER_VALUE"
    put(ebs, snapshot, 0, "c")


def test_a_snapshot_that_is_left_alone_is_given_up(ebs, localcloud):
    """After its time-out, counted from the last block."""
    snapshot = started(ebs, {0: "a"}, Timeout=10)
    aged(localcloud, snapshot, 9)
    put(ebs, snapshot, 1, "b", Progress=50)
    aged(localcloud, snapshot, 9)
    ec2 = localcloud.client("ec2")
    shown = ec2.describe_snapshots()["Snapshots"][0]
    assert (shown["State"], shown["Progress"]) == ("pending", "50%")
    aged(localcloud, snapshot, 2)
    assert ec2.describe_snapshots()["Snapshots"][0]["State"] == "error"
    assert reason(put, ebs, snapshot, 2, "c") == "INVALID_SNAPSHOT_ID"
    asked = {"SnapshotId": snapshot, "ChangedBlocksCount": 2}
    assert reason(ebs.complete_snapshot, **asked) == "INVALID_SNAPSHOT_ID"
    assert reason(ebs.list_snapshot_blocks, SnapshotId=snapshot) == "INVALID_SNAPSHOT_ID"


def test_completion_takes_as_long_as_the_setting_says(ebs, localcloud):
    """Until then it is pending, and neither read nor written."""
    localcloud.settings(pending=60)
    snapshot = started(ebs, {0: "a"})
    asked = {"SnapshotId": snapshot, "ChangedBlocksCount": 1}
    assert ebs.complete_snapshot(**asked)["Status"] == "pending"
    assert ebs.complete_snapshot(**asked)["Status"] == "pending"
    assert reason(ebs.list_snapshot_blocks, SnapshotId=snapshot) == "INVALID_SNAPSHOT_ID"
    assert reason(put, ebs, snapshot, 1, "b") == "INVALID_SNAPSHOT_ID"
    localcloud.settings(pending=0)
    assert held(ebs, snapshot) == {0: "a"}


def test_blocks_come_in_pages(ebs):
    """Of a hundred at least; a page's token is for its list alone; it may begin anywhere."""
    snapshot, other = made(ebs, dict.fromkeys(range(0, 300, 2), "a")), made(ebs, {0: "a"})
    first = ebs.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=100)
    assert (first["BlockSize"], first["VolumeSize"]) == (SIZE, 1)
    assert [each["BlockIndex"] for each in first["Blocks"]] == list(range(0, 200, 2))
    token = first["NextToken"]
    rest = ebs.list_snapshot_blocks(SnapshotId=snapshot, NextToken=token, StartingBlockIndex=7)
    assert [each["BlockIndex"] for each in rest["Blocks"]] == list(range(200, 300, 2))
    assert "NextToken" not in rest
    later = ebs.list_snapshot_blocks(SnapshotId=snapshot, StartingBlockIndex=295)["Blocks"]
    assert [each["BlockIndex"] for each in later] == [296, 298]
    for asked in (
        {"SnapshotId": other, "NextToken": token},
        {"SnapshotId": snapshot, "NextToken": "YQ=="},
    ):
        assert reason(ebs.list_snapshot_blocks, **asked) == "INVALID_PAGE_TOKEN"
    assert (
        reason(ebs.list_snapshot_blocks, SnapshotId=snapshot, MaxResults=10001)
        == "INVALID_PARAMETER_VALUE"
    )


def test_a_block_is_got_by_its_token(ebs, localcloud):
    """Not by another's, nor after a week; one that was never written is not there."""
    snapshot = made(ebs, {0: "a", 1: "b"})
    first, second = ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]
    for token in (second["BlockToken"], "YQ==", first["BlockToken"][:-4] + "AAAA"):
        asked = {"SnapshotId": snapshot, "BlockIndex": 0, "BlockToken": token}
        assert reason(ebs.get_snapshot_block, **asked) == "INVALID_BLOCK_TOKEN"
    asked = {"SnapshotId": snapshot, "BlockIndex": 5, "BlockToken": first["BlockToken"]}
    assert refused(ebs.get_snapshot_block, **asked) == "ResourceNotFoundException"
    assert reason(ebs.get_snapshot_block, **{**asked, "BlockIndex": 2048}) == "INVALID_BLOCK"
    localcloud.restart()
    again = localcloud.client("ebs").get_snapshot_block(SnapshotId=snapshot, **first)
    assert again["BlockData"].read() == content("a")


def test_tokens_expire(ebs):
    """Blocks' after a week, pages' after an hour."""
    week = 7 * 24 * 3600
    token = tokens.block(NOWHERE, 3, 1000 + week)
    tokens.check_block(token, NOWHERE, 3, 999 + week)
    with pytest.raises(Refusal):
        tokens.check_block(token, NOWHERE, 3, 1001 + week)
    page = tokens.page("list", 9, 1000)
    assert tokens.start_of(page, "list", 4599) == 9
    with pytest.raises(Refusal):
        tokens.start_of(page, "list", 4601)


def test_changed_blocks_are_those_that_differ(ebs):
    """In either of the two, with the tokens of those that have them; what was written again as it was has not changed."""
    first = made(ebs, {0: "a", 1: "b", 2: "c"})
    second = made(ebs, {1: "x", 2: "c", 9: "y"}, ParentSnapshotId=first)
    told = ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=second)
    found = {
        each["BlockIndex"]: ("FirstBlockToken" in each, "SecondBlockToken" in each)
        for each in told["ChangedBlocks"]
    }
    assert list(found.items()) == [(1, (True, True)), (9, (False, True))]
    block = told["ChangedBlocks"][0]
    for snapshot, token, word in ((first, "FirstBlockToken", "b"), (second, "SecondBlockToken", "x")):
        got = ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=1, BlockToken=block[token])
        assert got["BlockData"].read() == content(word)
    back = ebs.list_changed_blocks(FirstSnapshotId=second, SecondSnapshotId=first)["ChangedBlocks"]
    assert [(each["BlockIndex"], "FirstBlockToken" in each) for each in back] == [(1, True), (9, True)]
    later = ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=second, StartingBlockIndex=2)
    assert [each["BlockIndex"] for each in later["ChangedBlocks"]] == [9]


def test_changed_blocks_come_in_pages_and_of_one_line(ebs):
    """Brothers are of one line; strangers are not; one alone cannot be compared."""
    root = made(ebs, {})
    one = made(ebs, dict.fromkeys(range(120), "a"), ParentSnapshotId=root)
    other = made(ebs, {5: "a", 6: "b"}, ParentSnapshotId=root)
    asked = {"FirstSnapshotId": other, "SecondSnapshotId": one, "MaxResults": 100}
    first = ebs.list_changed_blocks(**asked)
    rest = ebs.list_changed_blocks(**asked, NextToken=first["NextToken"])
    found = [each["BlockIndex"] for each in first["ChangedBlocks"] + rest["ChangedBlocks"]]
    assert found == [index for index in range(120) if index != 5]
    stranger = made(ebs, {})
    why = reason(ebs.list_changed_blocks, FirstSnapshotId=stranger, SecondSnapshotId=one)
    assert why == "UNRELATED_SNAPSHOTS"
    assert reason(ebs.list_changed_blocks, SecondSnapshotId=one) == "INVALID_PARAMETER_VALUE"


def test_others_read_what_is_shared_with_them_by_name(ebs, localcloud):
    """Public is not enough: AWS says so."""
    snapshot = made(ebs, {0: "a"})
    ec2, theirs = localcloud.client("ec2"), localcloud.client("ebs", account=OTHER)
    assert reason(theirs.list_snapshot_blocks, SnapshotId=snapshot) == "UNAUTHORIZED_ACCOUNT"
    ec2.modify_snapshot_attribute(
        SnapshotId=snapshot, CreateVolumePermission={"Add": [{"Group": "all"}]}
    )
    assert reason(theirs.list_snapshot_blocks, SnapshotId=snapshot) == "UNAUTHORIZED_ACCOUNT"
    ec2.modify_snapshot_attribute(
        SnapshotId=snapshot, CreateVolumePermission={"Add": [{"UserId": OTHER}]}
    )
    assert held(theirs, snapshot) == {0: "a"}
    assert reason(theirs.list_snapshot_blocks, SnapshotId=NOWHERE) == "SNAPSHOT_NOT_FOUND"


def test_all_of_it_is_there_after_a_restart(ebs, localcloud):
    """Pending goes on where it was; client tokens are remembered."""
    done = made(ebs, {0: "a"})
    pending = started(ebs, {3: "b"}, ClientToken="t", ParentSnapshotId=done)
    localcloud.restart()
    ebs = localcloud.client("ebs")
    assert (
        ebs.start_snapshot(VolumeSize=1, ClientToken="t", ParentSnapshotId=done)["SnapshotId"] == pending
    )
    put(ebs, pending, 4, "c")
    ebs.complete_snapshot(SnapshotId=pending, ChangedBlocksCount=2)
    assert held(ebs, pending) == {0: "a", 3: "b", 4: "c"}
    assert held(ebs, done) == {0: "a"}


def test_what_was_not_acknowledged_is_harmless(ebs, localcloud):
    """Bytes without a row, a file without a snapshot: as a kill between the two leaves them."""
    snapshot = started(ebs, {0: "a"})
    localcloud.stop()
    with (localcloud.home / "snapshots" / snapshot).open("ab") as file:
        file.write(b"torn")
    (localcloud.home / "snapshots" / NOWHERE).write_bytes(b"torn")
    localcloud.start()
    assert files(localcloud) == {snapshot}
    ebs = localcloud.client("ebs")
    put(ebs, snapshot, 1, "b")
    ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=2)
    assert held(ebs, snapshot) == {0: "a", 1: "b"}


def test_a_flipped_byte_is_noticed(ebs, localcloud):
    """By the client, whose check sum differs; by the machine, before it boots. A file cut short is an error of the server's."""
    snapshot = made(ebs, {0: "a", 3: "b"})
    store, file = localcloud.server.store, localcloud.home / "snapshots" / snapshot
    assert [(index, data[:1]) for index, data in written(store, snapshot)] == [(0, b"a"), (3, b"b")]
    with file.open("r+b") as handle:
        handle.seek(SIZE + 9)
        handle.write(b"!")
    block = ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"][1]
    got = ebs.get_snapshot_block(SnapshotId=snapshot, **block)
    assert checksum(got["BlockData"].read()) != got["Checksum"]
    with pytest.raises(Damaged, match="block 3 of"):
        list(written(store, snapshot))
    os.truncate(file, SIZE)
    assert refused(ebs.get_snapshot_block, SnapshotId=snapshot, **block) == "InternalServerException"
    file.unlink()
    with pytest.raises(Damaged, match="gone"):
        list(written(store, snapshot))
    with pytest.raises(Damaged, match="gone"):
        list(written(store, NOWHERE))


def test_a_machine_sees_what_a_client_reads(ebs, localcloud, monkeypatch):
    """Its parents' blocks among its own, in order, however many rows are looked up at a time."""
    parent = made(ebs, {0: "a", 5: "b", 9: "c"})
    child = made(ebs, {5: "d", 7: "e"}, ParentSnapshotId=parent)
    for rows in (1, 2, 3, 4, 5):
        monkeypatch.setattr(volume, "ROWS", rows)
        found = [(index, data) for index, data in volume.written(localcloud.server.store, child)]
        assert found == [
            (index, content(word)) for index, word in ((0, "a"), (5, "d"), (7, "e"), (9, "c"))
        ]


def test_many_write_at_once_and_the_same_block(ebs):
    """Each block is one of those that were put, whole."""
    snapshot = started(ebs)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: put(ebs, snapshot, n % 4, "abcdefgh"[n % 8]), range(64)))
    ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=4)
    found = held(ebs, snapshot)
    assert all(word in ("abcd"[index], "efgh"[index]) for index, word in found.items())


def test_a_block_that_comes_while_it_is_deleted_is_refused(ebs, localcloud, monkeypatch):
    """And leaves nothing."""
    snapshot = started(ebs)
    append = blocks.append

    def later(store, identity, data):
        localcloud.client("ec2").delete_snapshot(SnapshotId=snapshot)
        return append(store, identity, data)

    monkeypatch.setattr(blocks, "append", later)
    assert reason(put, ebs, snapshot, 0, "a") == "SNAPSHOT_NOT_FOUND"
    assert files(localcloud) == set()


def test_everything_acknowledged_survives_a_kill(tmp_path):
    """SIGKILL in the midst of eight writers: what was answered is there, and can be completed."""
    home, done = tmp_path / "own", dict[int, str]()
    try:
        ebs = client_at(local.endpoint(home).url, "ebs", connect_timeout=2)
        snapshot = started(ebs)
        writers = [
            threading.Thread(target=put_until_it_dies, args=(ebs, snapshot, each, done))
            for each in range(8)
        ]
        for each in writers:
            each.start()
        time.sleep(1.5)
        state = door.read(home)
        assert state
        os.kill(state.pid, signal.SIGKILL)
        for each in writers:
            each.join()
        ebs = client_at(local.endpoint(home).url, "ebs", connect_timeout=2)
        for index, word in list(done.items())[::7]:
            put(ebs, snapshot, index, word)
        with pytest.raises(ClientError, match=r"(\d+) blocks were written") as caught:
            ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=100_000)
        count = int(str(caught.value).rpartition("; ")[2].split()[0])
        assert len(done) > 20
        assert len(done) <= count <= len(done) + 8, "of those without an answer, some may be there"
        ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=count)
        found = held(ebs, snapshot)
        assert {index: found.get(index) for index in done} == done
    finally:
        local.stop(home)


def put_until_it_dies(ebs, snapshot: str, number: int, done: dict[int, str]) -> None:
    try:
        for index in range(number, 2048, 8):
            word = "abcdefgh"[index % 8]
            put(ebs, snapshot, index, word)
            done[index] = word
    except BotoCoreError:
        return


def test_what_it_does_not_know_it_refuses(ebs):
    """A header that means something, a key of the body."""
    ebs.meta.events.register(
        "before-sign.ebs.StartSnapshot",
        lambda request, **_: request.headers.add_header("x-amz-colour", "red"),
    )
    assert refused(ebs.start_snapshot, VolumeSize=1) == "ValidationException"


def test_ids_are_aws_ids():
    """17 hexadecimal digits."""
    assert snapshots.ID.fullmatch(snapshots.new_id())
    assert len(snapshots.new_id()) == 22
