"""Verdicts, without any cloud: for each case the decision and the reason."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.plan import verdict
from tasks.plan.things import SOME, Bundle, Image, Instance, KeyPair, Known, Snapshot, Verdict

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
OLD, FRESH = NOW - timedelta(days=3), NOW - timedelta(minutes=3)
ACCOUNT = "123456789012"


def image(id_="ami-1", of="debian-12", owner=ACCOUNT, sources=(), **more):
    return Image(id_, "n", owner, of, tuple(sources), **more)


def bundle(manifest="debian-12/a/x.manifest.xml", since=OLD):
    return Bundle("b", manifest, (manifest,), 1, since)


def snapshot(id_="snap-1", of="debian-12", state="completed", since=OLD):
    return Snapshot(id_, of, state, 8, since)


def of_images(*held, wanted=("ami-1",), force=False):
    found = verdict.images(wanted, held, of="debian-12", account=ACCOUNT, current="ami-1", force=force)
    return [(each.decision, each.because) for each in found]


def of_source(thing, *, going=(), kept=(), known=None, force=False):
    judged = [Verdict("goes", each, "") for each in going]
    told = known or Known()
    (found,) = verdict.sources([thing], judged, kept, told, of="debian-12", now=NOW, force=force)
    return found.decision, found.because


@pytest.mark.parametrize(
    ("held", "decision", "because"),
    [
        (image(), "goes", "it is the current one"),
        (image(owner="9"), "refused", "it belongs to account 9"),
        (image(of=""), "refused", "it is not ours: it bears no tag doit-ami:image"),
        (image(of="x"), "refused", "it is x's: doit deregister:x --ami=ami-1"),
        (image(users=["i-1 (running)"]), "refused", "i-1 (running) is made of it: doit terminate:debian-12, or --force"),
        (image(protected=True), "refused", "it is protected: aws ec2 disable-image-deregistration-protection --image-id ami-1"),
    ],
)  # fmt: skip
def test_an_image_that_was_asked_for(held, decision, because):
    assert of_images(held) == [(decision, because)]


def test_force_is_about_use_and_never_about_whose_it_is():
    """Nor about protection."""
    for held in (image(owner="9"), image(of=""), image(of="x"), image(protected=True)):
        assert of_images(held, force=True)[0][0] == "refused"
    users = ["i-1", "i-2", "i-3", "i-4"]
    because = "it is the current one, although i-1, i-2, i-3 and 1 more are made of it"
    assert of_images(image(users=users), force=True) == [("goes", because)]


def test_images_that_nobody_asked_for_are_shown_if_they_are_of_the_image():
    """What is somebody else's is not even told of."""
    held = (image("ami-2"), image("ami-3", of=""), image("ami-4", of="x"))
    assert of_images(*held) == [("stays", "not asked for: --ami=ami-2, or --all")]


@pytest.mark.parametrize("thing", [bundle(), snapshot()])
def test_what_an_image_that_stays_is_made_of_stays(thing):
    """Whoever's the image is, and though another that goes was made of it, too."""
    stays = image("ami-2", of="", sources=[thing.id])
    goes = image(sources=[thing.id])
    for known in (Known(), Known("ami-1", thing.id, thing.id)):
        told = of_source(thing, going=[goes], kept=[stays], known=known, force=True)
        assert told == ("stays", "ami-2 is made of it")


@pytest.mark.parametrize("thing", [bundle(since=FRESH), snapshot(since=FRESH)])
def test_what_was_of_an_image_that_goes_or_is_gone_goes(thing):
    """However young it is."""
    assert of_source(thing, going=[image(sources=[thing.id])]) == (
        "goes",
        "ami-1, which goes, was made of it",
    )
    known = Known("ami-1", thing.id, thing.id)
    assert of_source(thing, known=known) == ("goes", "ami-1, which is gone, was made of it")
    assert of_source(thing, known=known, kept=[image()])[0] == "stays", "it is not gone"


@pytest.mark.parametrize("make", [bundle, snapshot])
def test_what_nothing_needs_goes_unless_it_may_be_work_of_this_moment(make):
    """Uploaded here and not registered; or young, and another machine's."""
    assert of_source(make())[0] == "goes"
    assert of_source(make(), known=Known(uploaded=make().id), force=True) == (
        "stays",
        "uploaded, and not yet registered: doit ami:debian-12",
    )
    young = "3 min old: another machine may be about to register it; --force"
    assert of_source(make(since=FRESH)) == ("stays", young)
    assert of_source(make(since=FRESH), force=True)[0] == "goes"


def test_a_snapshot_of_another_tag_stays():
    for thing in (snapshot(of=""), snapshot(of="x"), snapshot(of="x", state="error")):
        because = "its tag doit-ami:image does not say debian-12"
        assert of_source(thing, force=True) == ("stays", because)
    foreign = snapshot(of="x")
    assert of_source(foreign, going=[image(sources=[foreign.id])])[0] == "stays"


@pytest.mark.parametrize("state", ["pending", "completed"])
def test_what_an_upload_here_goes_on_with_stays(state):
    """However old it is, and whatever is forced: the journal has what was acknowledged."""
    told = ("stays", "an upload here was writing it: doit upload:debian-12 goes on")
    assert of_source(snapshot(state=state), known=Known(writing="snap-1"), force=True) == told


def test_an_upload_that_does_not_know_its_snapshot_keeps_all_that_are_pending():
    """It was killed between the request and the line in its journal, and will ask again."""
    known = Known(writing=SOME)
    assert of_source(snapshot(state="pending"), known=known, force=True)[0] == "stays"
    assert of_source(snapshot(), known=known)[0] == "goes", "it is complete"


@pytest.mark.parametrize("known", [Known(), Known(writing="snap-2")])
def test_a_snapshot_that_nobody_completes_goes_after_an_hour(known):
    """Before that it may be another machine's, of this moment; and that can be forced."""
    young = snapshot(state="pending", since=FRESH)
    stays = ("stays", "3 min old: another machine may be writing it; --force")
    goes = "it was never completed, is {} old, and no upload here goes on with it"
    assert of_source(young, known=known) == stays
    assert of_source(young, known=known, force=True) == ("goes", goes.format("3 min"))
    assert of_source(snapshot(state="pending"), known=known) == ("goes", goes.format("3 d"))


@pytest.mark.parametrize("known", [Known(), Known(writing="snap-1"), Known(writing=SOME)])
def test_a_snapshot_that_failed_goes_at_once(known):
    """Nothing can be made of it, and nobody can go on with it."""
    failed = snapshot(state="error", since=FRESH)
    assert of_source(failed, known=known) == ("goes", "it failed, and nothing can be made of it")


@given(st.data())
def test_nothing_that_an_image_still_needs_ever_goes(data):
    """Whatever is asked for, forced, known, or how old it is."""
    ids = ["b/x.manifest.xml", "b/y.manifest.xml", "snap-1", "snap-2"]
    some = st.lists(st.sampled_from(ids), max_size=2)
    held = [
        image(
            f"ami-{number}",
            of=data.draw(st.sampled_from(["debian-12", "x", ""])),
            sources=data.draw(some),
        )
        for number in range(4)
    ]
    force, wanted = (
        data.draw(st.booleans()),
        data.draw(st.sets(st.sampled_from([each.id for each in held]))),
    )
    judged = verdict.images(
        sorted(wanted), held, of="debian-12", account=ACCOUNT, current="ami-1", force=force
    )
    going = {each.thing for each in judged if each.goes}
    assert {each.id for each in going} <= wanted
    kept = [each for each in held if each not in going]
    known = Known(
        *(data.draw(st.sampled_from(["", *choice])) for choice in (["ami-1", "ami-9"], ids, ids))
    )
    things = [bundle("x.manifest.xml"), bundle("y.manifest.xml"), snapshot("snap-1"), snapshot("snap-2")]
    told = verdict.sources(things, judged, kept, known, of="debian-12", now=NOW, force=force)
    needed = {source for each in kept for source in each.sources}
    assert not needed & {each.thing.id for each in told if each.goes}


def test_files_of_a_bucket_are_told_apart_into_bundles_by_their_names():
    """Ten parts and more, a manifest without parts, parts without a manifest, and what is of none."""
    keys = [
        "a/x.manifest.xml",
        *(f"a/x.part.{n}" for n in range(12)),
        "a/y.part.0",
        "b.manifest.xml",
        "a/x.part.",
        "z",
    ]
    found, others = verdict.bundles(
        "b", {key: (2, OLD if key != "a/x.part.3" else NOW) for key in keys}, ["c.manifest.xml"]
    )
    assert [(each.id, len(each.keys), each.size) for each in found] == [
        ("b/a/x.manifest.xml", 13, 26),
        ("b/a/y.manifest.xml", 1, 2),
        ("b/b.manifest.xml", 1, 2),
    ]
    assert found[0].keys[0] == "a/x.manifest.xml"
    assert found[0].since == NOW
    assert others == ("a/x.part.", "z")


@pytest.mark.parametrize(
    ("held", "decision", "because"),
    [
        (Instance("i-1", "debian-12", "stopped", "k"), "goes", "asked for"),
        (Instance("i-1", "debian-12", "shutting-down", "k"), "goes", "it is ending already"),
        (Instance("i-1", "debian-12", "terminated", "k"), "stays", "it has ended"),
        (Instance("i-1", "", "running", "k"), "refused", "it is not ours: it bears no tag doit-ami:image"),
        (Instance("i-1", "x", "running", "k"), "refused", "it is x's: doit terminate:x"),
        (Instance("i-2", "debian-12", "running", "k"), "stays", "not asked for: --instance=i-2, or no --instance"),
    ],
)  # fmt: skip
def test_an_instance(held, decision, because):
    (found,) = verdict.instances(["i-1"], [held], of="debian-12")
    assert (found.decision, found.because) == (decision, because)


def test_a_key_pair_stays_as_long_as_an_instance_was_started_with_it():
    """One that is ending counts no more."""
    pairs = [KeyPair("key-1", "k"), KeyPair("key-2", "l")]
    kept = [Instance("i-1", "x", "running", "k"), Instance("i-2", "x", "shutting-down", "l")]
    assert [(each.decision, each.because) for each in verdict.key_pairs(pairs, kept)] == [
        ("stays", "i-1 was started with it"),
        ("goes", "no instance that stays was started with it"),
    ]


def test_what_is_refused_is_told_again_by_name():
    """After the deed, as the fault."""
    found = verdict.images(
        ["ami-1"], [image(of="")], of="debian-12", account=ACCOUNT, current="", force=False
    )
    assert verdict.refusals(found) == ["ami-1 n: it is not ours: it bears no tag doit-ami:image"]
    assert verdict.told(found).splitlines()[1].split()[:3] == ["refused", "image", "ami-1"]


@pytest.mark.parametrize(
    ("span", "told"),
    [
        (timedelta(days=400), "400 d"), (timedelta(hours=25), "1 d"), (timedelta(minutes=119), "1 h"),
        (timedelta(seconds=61), "1 min"), (timedelta(seconds=59), "59 s"), (timedelta(seconds=-5), "0 s"),
    ],
)  # fmt: skip
def test_ages_are_told_in_the_largest_unit_that_fills_one(span, told):
    assert verdict.age(span) == told
