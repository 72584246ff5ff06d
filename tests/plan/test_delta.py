"""What a snapshot has to be sent, as a child and from scratch; and what it holds then."""

import base64
import hashlib

from hypothesis import given
from hypothesis import strategies as st

from tasks.plan import delta
from tasks.plan.delta import Ledger, Write
from tasks.spec.record import BlockList

SIZE = 524288
NOTHING = delta.zeros(SIZE)
CONTENTS = st.dictionaries(st.integers(0, 30), st.integers(0, 3), min_size=1)


def sha(seed: int) -> str:
    return hashlib.sha256(bytes([seed])).hexdigest() if seed else NOTHING


def listed(content, gib=1):
    blocks = tuple((index, sha(seed)) for index, seed in sorted(content.items()))
    return BlockList(
        version=1, sha256="a" * 64, digest="d", block_size=SIZE, volume_size=gib << 30, unread=(), blocks=blocks
    )  # fmt: skip


def ledger(blocks, parent=None, snapshot="snap-1"):
    return Ledger(
        account="1", region="r", cloud_id="", image="i", snapshot=snapshot, encrypted=False, kms_key=None,
        block_size=SIZE, volume_size=blocks.volume_size, blocks=delta.after(blocks, parent),
    )  # fmt: skip


@given(st.lists(CONTENTS, min_size=2, max_size=6))
def test_a_line_of_children_holds_each_image_and_nothing_older(line):
    """Whatever the images: applied to what the parent holds, the writes give the list's blocks, and zeros everywhere else."""
    blocks = listed(line[0])
    held = {each.index: each.sha256 for each in delta.whole(blocks).writes}
    book = ledger(blocks)
    assert dict(book.blocks) == held
    for content in line[1:]:
        blocks = listed(content)
        held |= {each.index: each.sha256 for each in delta.against(blocks, book).writes}
        book = ledger(blocks, book)
        assert held == dict(book.blocks)
        assert {index: held[index] for index in content} == dict(blocks.blocks)
        assert {sha256 for index, sha256 in held.items() if index not in content} <= {NOTHING}


@given(CONTENTS, CONTENTS)
def test_no_block_is_sent_that_the_parent_has(before, now):
    """But at least one, in the order of their indices; and what nobody reads any more goes as zeros, not as the image has it."""
    parent = ledger(listed(before))
    writes = delta.against(listed(now), parent).writes
    held = dict(parent.blocks)
    assert len(writes) == 1 or all(held.get(each.index) != each.sha256 for each in writes)
    assert [each.index for each in writes] == sorted({each.index for each in writes})
    assert all(each.zeros == (each.index not in now) for each in writes)


def test_blocks_that_were_zeroed_are_not_zeroed_again():
    """Generations later they still are."""
    first = ledger(listed({0: 1, 1: 2}))
    second = ledger(listed({0: 1}), first)
    assert [each.index for each in delta.against(listed({0: 3}), second).writes] == [0]


def test_what_can_be_no_parent_is_told_by_its_ledger():
    """Another account, region or cloud, blocks of another size, a larger volume; and otherwise nothing."""
    place = {"account": "1", "region": "r", "cloud_id": ""}
    small, large = listed({0: 1}), listed({0: 1}, gib=2)
    assert delta.misfit(large, ledger(small), **place) == ""
    assert "shrink" in delta.misfit(small, ledger(large), **place)
    for other in ({"account": "2"}, {"region": "s"}, {"cloud_id": "x"}):
        assert "account 1, r" in delta.misfit(small, ledger(small), **{**place, **other})
    bytes_512 = ledger(small).model_copy(update={"block_size": 512})
    assert "512 bytes" in delta.misfit(small, bytes_512, **place)


def test_the_digest_of_a_delta_is_of_parent_and_blocks():
    """What was acknowledged for one counts for no other."""
    one, other = listed({0: 1}), listed({0: 2})
    digests = {
        delta.whole(one).digest,
        delta.whole(other).digest,
        delta.against(other, ledger(one)).digest,
        delta.against(other, ledger(one, snapshot="snap-2")).digest,
    }
    assert len(digests) == 4
    assert delta.whole(one).digest == delta.whole(listed({0: 1})).digest


def test_what_is_left_is_what_was_not_acknowledged_as_it_is_now():
    """An acknowledgement of other content in the same place is none."""
    writes = [Write(0, sha(1)), Write(1, sha(2)), Write(2, sha(3))]
    assert delta.unsent(writes, {0: sha(1), 1: sha(9)}) == writes[1:]


def test_the_aggregate_checksum_is_ebss_linear_one():
    """Over the raw digests in the order of their indices, in base64; worked out here by hand."""
    by_hand = hashlib.sha256(bytes.fromhex(sha(1)) + bytes.fromhex(sha(2))).digest()
    assert delta.aggregate([Write(9, sha(2)), Write(3, sha(1))]) == base64.b64encode(by_hand).decode()
