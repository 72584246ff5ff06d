"""What goes, what stays, and because of what. Judged here, without a look at any cloud; done elsewhere, to the letter.

goes: it is deleted, once that is agreed to. stays: nobody asked for it, or something else needs it. refused: it was
asked for, and stays all the same: the task fails, and says what to do. Of reasons, the first that holds is told.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from tasks.kit.table import table
from tasks.plan.things import (
    SOME,
    Bundle,
    Decision,
    Image,
    Instance,
    KeyPair,
    Known,
    Snapshot,
    Thing,
    Verdict,
)
from tasks.spec import names

COLUMNS = ("verdict", "what", "which", "because")
YOUNG = timedelta(hours=1)  # what is younger may be another machine's, which is about to register it
ENDING = ("shutting-down", "terminated")  # such an instance needs nothing any more
TOLD = 3  # names that one reason gives
MANIFEST, PART = ".manifest.xml", ".part."  # how the files of a bundle end
EVER = datetime(1970, 1, 1, tzinfo=UTC)

Case = tuple[bool, Decision, str]


def first(thing: Thing, *cases: Case) -> Verdict:
    """By the first case that holds."""
    return next(Verdict(decision, thing, because) for holds, decision, because in cases if holds)


def images(
    wanted: Sequence[str], held: Iterable[Image], *, of: str, account: str, current: str, force: bool
) -> list[Verdict]:
    """Of the images of an account, and of those that were asked for by their ids whoever's they are."""
    return [
        Verdict("stays", each, f"not asked for: --ami={each.id}, or --all")
        if each.id not in wanted
        else _image(each, of=of, account=account, current=current, force=force)
        for each in held
        if each.id in wanted or each.of == of
    ]


def _image(each: Image, *, of: str, account: str, current: str, force: bool) -> Verdict:
    used = f"{some(each.users)} made of it"
    unprotect = f"aws ec2 disable-image-deregistration-protection --image-id {each.id}"
    wish = "it is the current one" if each.id == current else "asked for"
    return first(
        each,
        (each.owner != account, "refused", f"it belongs to account {each.owner}"),
        (not each.of, "refused", f"it is not ours: it bears no tag {names.IMAGE_TAG}"),
        (each.of != of, "refused", f"it is {each.of}'s: doit deregister:{each.of} --ami={each.id}"),
        (each.protected, "refused", f"it is protected: {unprotect}"),
        (bool(each.users) and not force, "refused", f"{used}: doit terminate:{of}, or --force"),
        (bool(each.users), "goes", f"{wish}, although {used}"),
        (True, "goes", wish),
    )


def sources(
    held: Iterable[Bundle | Snapshot],
    judged: Sequence[Verdict],
    kept: Iterable[Image],
    known: Known,
    *,
    of: str,
    now: datetime,
    force: bool,
) -> list[Verdict]:
    """Of what images are made of. `judged` are the images; `kept` those that stay, whoever's they are."""
    going = {
        source: verdict.thing.id
        for verdict in judged
        if verdict.goes and isinstance(verdict.thing, Image)
        for source in verdict.thing.sources
    }
    kept = tuple(kept)
    needed = {source: image.id for image in kept for source in image.sources}
    lost = known.made_of if known.image not in {image.id for image in kept} else ""

    return [
        first(
            each,
            (each.id in needed, "stays", f"{needed.get(each.id)} is made of it"),
            (each.of not in (None, of), "stays", f"its tag {names.IMAGE_TAG} does not say {of}"),
            (each.id in going, "goes", f"{going.get(each.id)}, which goes, was made of it"),
            (each.id == lost, "goes", f"{known.image}, which is gone, was made of it"),
            (each.id == known.uploaded, "stays", f"uploaded, and not yet registered: doit ami:{of}"),
            *(_unfinished(each, known, of, now, force=force) if isinstance(each, Snapshot) else ()),
            (
                now - each.since < YOUNG and not force,
                "stays",
                f"{age(now - each.since)} old: another machine may be about to register it; --force",
            ),
            (True, "goes", "no image is made of it, and no receipt here speaks of it"),
        )
        for each in held
    ]


def _unfinished(
    each: Snapshot, known: Known, of: str, now: datetime, *, force: bool
) -> tuple[Case, ...]:
    """Of a snapshot that holds nothing whole, or not yet."""
    old, pending = age(now - each.since), each.state == "pending"
    young = now - each.since < YOUNG and not force
    return (
        (each.state == "error", "goes", "it failed, and nothing can be made of it"),
        (
            known.writing == each.id or (pending and known.writing == SOME),
            "stays",
            f"an upload here was writing it: doit upload:{of} goes on",
        ),
        (pending and young, "stays", f"{old} old: another machine may be writing it; --force"),
        (pending, "goes", f"it was never completed, is {old} old, and no upload here goes on with it"),
    )


def bundles(
    bucket: str, held: Mapping[str, tuple[int, datetime]], named: Iterable[str] = ()
) -> tuple[list[Bundle], tuple[str, ...]]:
    """What lies in a bucket (key to size and time), as bundles; and the keys that are of none. `named`: manifests' keys.

    A part is told by its name, which ec2-bundle-image gave it as we do; so parts are found whose manifest is gone.
    """
    stems: dict[str, list[str]] = {
        key.removesuffix(MANIFEST): [] for key in (*held, *named) if key.endswith(MANIFEST)
    }
    others = []
    for key in sorted(held):
        stem, part, number = key.rpartition(PART)
        if part and number.isdecimal():
            stems.setdefault(stem, []).append(key)
        elif not key.endswith(MANIFEST):
            others.append(key)
    found = [
        _bundle(bucket, stem + MANIFEST, [*[stem + MANIFEST][: stem + MANIFEST in held], *parts], held)
        for stem, parts in sorted(stems.items())
    ]
    return [each for each in found if each.keys], tuple(others)


def _bundle(
    bucket: str, manifest: str, keys: Sequence[str], held: Mapping[str, tuple[int, datetime]]
) -> Bundle:
    size = sum(held[key][0] for key in keys)
    since = max((held[key][1] for key in keys), default=EVER)
    return Bundle(bucket, manifest, tuple(keys), size, since)


def asked(held: Iterable[Bundle], kept: Iterable[Image]) -> list[Verdict]:
    """Of bundles that were asked for. `kept`: the images of the account."""
    needed = {source: image for image in kept for source in image.sources}
    return [
        Verdict("refused", each, f"{needed[each.id].id} is made of it: {_rid(needed[each.id])}")
        if each.id in needed
        else Verdict("goes", each, "asked for; no image is made of it")
        for each in held
    ]


def _rid(image: Image) -> str:
    if image.of:
        return f"doit deregister:{image.of} --ami={image.id}"
    return f"aws ec2 deregister-image --image-id {image.id}"


def instances(wanted: Sequence[str], held: Iterable[Instance], *, of: str) -> list[Verdict]:
    """`wanted` empty: all of the image. Held are those of the image, and those that were asked for, whoever's they are."""
    return [_instance(each, of=of, asked=each.id in wanted or not wanted) for each in held]


def _instance(each: Instance, *, of: str, asked: bool) -> Verdict:
    unprotect = f"aws ec2 modify-instance-attribute --instance-id {each.id} --no-disable-api-termination"
    return first(
        each,
        (not asked, "stays", f"not asked for: --instance={each.id}, or no --instance"),
        (not each.of, "refused", f"it is not ours: it bears no tag {names.IMAGE_TAG}"),
        (each.of != of, "refused", f"it is {each.of}'s: doit terminate:{each.of}"),
        (each.state == "terminated", "stays", "it has ended"),
        (each.state == "shutting-down", "goes", "it is ending already"),
        (each.protected, "refused", f"it is protected against termination: {unprotect}"),
        (True, "goes", "asked for"),
    )


def key_pairs(held: Iterable[KeyPair], kept: Iterable[Instance]) -> list[Verdict]:
    """`kept`: the instances of the account that stay, whoever's they are."""
    users = {each.key: each.id for each in kept if each.state not in ENDING}
    return [
        Verdict("stays", each, f"{users[each.name]} was started with it")
        if each.name in users
        else Verdict("goes", each, "no instance that stays was started with it")
        for each in held
    ]


def told(verdicts: Iterable[Verdict]) -> str:
    return table(COLUMNS, [each.row for each in verdicts])


def refusals(verdicts: Iterable[Verdict]) -> list[str]:
    return [f"{each.thing}: {each.because}" for each in verdicts if each.decision == "refused"]


def some(all_of_them: Sequence[str]) -> str:
    """'i-1, i-2, i-3 and 4 more are', for a sentence to go on."""
    more = f" and {len(all_of_them) - TOLD} more" if len(all_of_them) > TOLD else ""
    return ", ".join(all_of_them[:TOLD]) + more + (" is" if len(all_of_them) == 1 else " are")


def age(span: timedelta) -> str:
    """'3 d', '5 h', '7 min': the largest unit that fills one."""
    seconds = max(0, int(span.total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
