"""Lists of objects: in the order of their keys' bytes, in pages, rolled up at a delimiter."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.s3.buckets import decoded, encoded
from tasks.cloud.local.s3.service import OBJECT, SERVICE, Bucket, Object, as_object, owned, user
from tasks.cloud.local.store import Store

MOST = 1000
SURROGATES = range(0xD800, 0xE000)  # are no characters of their own
SAFE = "/*-._"  # stand for themselves in a list that is percent-encoded


@dataclass(frozen=True)
class Wanted:
    bucket: Bucket
    prefix: str
    delimiter: str
    after: str


@dataclass(frozen=True)
class Page:
    objects: list[Object]
    prefixes: list[str]
    next: str  # what the page ends with, when there is more


def page(store: Store, wanted: Wanted, limit: int) -> Page:
    objects: list[Object] = []
    prefixes: list[str] = []
    last = ""
    for entry in entries(store, wanted) if limit else ():
        if len(objects) + len(prefixes) == limit:
            return Page(objects, prefixes, last)
        if isinstance(entry, Object):
            objects.append(entry)
            last = entry.key
        else:
            prefixes.append(entry)
            last = entry
    return Page(objects, prefixes, "")


def entries(store: Store, wanted: Wanted) -> Iterator[Object | str]:
    """Objects, and what several have in common up to the delimiter. A common prefix costs one look, however many have it."""
    low: str | None = wanted.prefix
    while low is not None:
        low = yield from _until_common(store, wanted, low)


def _until_common(store: Store, wanted: Wanted, low: str) -> Generator[Object | str, None, str | None]:
    """Up to the next common prefix; returns where to go on, None at the end."""
    high = beyond(wanted.prefix)
    start, first = (">", wanted.after) if wanted.after >= low else (">=", low)
    below, limits = ("AND key < ?", (high,)) if high else ("", ())
    rows = store.db.execute(
        f"SELECT {OBJECT} FROM s3_objects WHERE bucket = ? AND key {start} ? {below} ORDER BY key",  # noqa: S608 - our own words
        (wanted.bucket.name, first, *limits),
    )
    for row in rows:
        common = _common(row[0], wanted)
        if common is None:
            yield as_object(row)
            continue
        if common > wanted.after:
            yield common
        return beyond(common)
    return None


def _common(key: str, wanted: Wanted) -> str | None:
    head, mark, _ = key[len(wanted.prefix) :].partition(wanted.delimiter or "\0")
    return wanted.prefix + head + mark if wanted.delimiter and mark else None


def beyond(prefix: str) -> str | None:
    """The first text that comes after all that begin with this; None when there is none."""
    for at in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[at]) + 1
        if code <= 0x10FFFF:  # noqa: PLR2004 - the last there is
            return prefix[:at] + chr(SURROGATES.stop if code in SURROGATES else code)
    return None


@SERVICE.operation
def list_objects_v2(call: Call) -> Answer:
    bucket, token, first = owned(call), call.get("ContinuationToken"), call.get("StartAfter", "")
    if "ContinuationToken" in call.asked and not token:
        raise Refusal("InvalidArgument", "The continuation token provided is incorrect")
    wanted = _wanted(call, bucket, decoded(token) if token else first)
    limit = most(call, "MaxKeys")
    found = page(call.store, wanted, limit)
    said = spelling(call)
    owner = {"Owner": {"ID": user(bucket.account)}} if call.get("FetchOwner") else {}
    answer = _told(wanted, found, limit, said) | {
        "Contents": [_line(each, said) | owner for each in found.objects],
        "KeyCount": len(found.objects) + len(found.prefixes),
    }
    if token:
        answer["ContinuationToken"] = token
    if first:
        answer["StartAfter"] = said(first)
    if found.next:
        answer["NextContinuationToken"] = encoded(found.next)
    return answer | _encoding(call)


@SERVICE.operation
def list_objects(call: Call) -> Answer:
    """The first version of it. The next marker is told where there is a delimiter: elsewhere it is the last key."""
    bucket, marker = owned(call), call.get("Marker", "")
    wanted, limit = _wanted(call, bucket, marker), most(call, "MaxKeys")
    found = page(call.store, wanted, limit)
    said = spelling(call)
    owner = {"Owner": {"ID": user(bucket.account)}}
    answer = _told(wanted, found, limit, said) | {
        "Marker": said(marker),
        "Contents": [_line(each, said) | owner for each in found.objects],
    }
    if found.next and wanted.delimiter:
        answer["NextMarker"] = said(found.next)
    return answer | _encoding(call)


def _wanted(call: Call, bucket: Bucket, after: str) -> Wanted:
    return Wanted(bucket, call.get("Prefix", ""), call.get("Delimiter", ""), after)


def most(call: Call, name: str) -> int:
    """How many are asked for; a page has no more than so many."""
    limit = call.get(name, MOST)
    if limit < 0:
        said = name[0].lower() + name[1:]
        raise Refusal("InvalidArgument", f"Argument {said} must be an integer between 0 and 2147483647")
    return min(int(limit), MOST)


def spelling(call: Call) -> Any:
    """How keys are written: XML cannot hold them all as they are."""
    return (lambda text: quote_plus(text, safe=SAFE)) if call.get("EncodingType") else str


def _encoding(call: Call) -> dict[str, str]:
    return {"EncodingType": "url"} if call.get("EncodingType") else {}


def _told(wanted: Wanted, found: Page, limit: int, said: Any) -> dict[str, Any]:
    answer = {
        "Name": wanted.bucket.name,
        "Prefix": said(wanted.prefix),
        "MaxKeys": limit,
        "IsTruncated": bool(found.next),
        "CommonPrefixes": [{"Prefix": said(each)} for each in found.prefixes],
    }
    return answer | ({"Delimiter": said(wanted.delimiter)} if wanted.delimiter else {})


def _line(found: Object, said: Any) -> dict[str, Any]:
    return {
        "Key": said(found.key),
        "LastModified": found.made,
        "ETag": f'"{found.etag}"',
        "Size": found.size,
        "StorageClass": "STANDARD",
        "ChecksumAlgorithm": list(found.about["sums"]),
        "ChecksumType": found.about["kind"],
    }
