"""Mirrors, asked before a package manager is: whether anybody is there at all, and for small files. Times are seconds."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import IO

from tasks.kit.fault import ConfigFault, HostFault
from tasks.kit.parallel import in_order
from tasks.spec.source import YumRepository

ANSWER = 10.0  # a mirror that says nothing for so long will not say anything useful later
AT_ONCE = 8


def filled(text: str, variables: Mapping[str, str]) -> str:
    """With the variables of a yum.conf: $releasever and such."""
    for name, value in variables.items():
        text = text.replace(f"${name}", value).replace(f"${{{name}}}", value)
    return text


def fetched(url: str, *, proxy: str | None, largest: int) -> bytes:
    """The file at an address. Raises faults that say what the server says."""
    import urllib.error
    from http.client import HTTPException

    try:
        with _opened(url, proxy) as answer:
            data: bytes = answer.read(largest + 1)
    except urllib.error.HTTPError as error:
        error.close()
        raise ConfigFault(f"the server says {error.code} {error.reason}") from error
    except (OSError, ValueError, HTTPException) as error:
        raise HostFault(f"cannot be fetched: {getattr(error, 'reason', error)}") from error
    if len(data) > largest:
        raise ConfigFault(f"is larger than {largest} bytes")
    return data


def look(repositories: Iterable[YumRepository], variables: Mapping[str, str]) -> None:
    """Raises HostFault with the repositories none of whose addresses says anything within ANSWER seconds.

    dnf would take as long for each of its attempts, four for a file and twelve for a list of mirrors. What is said, it is
    the judge of: a refusal is an answer.
    """
    pairs = [(each, url) for each in repositories for url in _asked(each, variables)]
    jobs = [partial(_silent, url, each.proxy) for each, url in pairs]
    results = list(in_order(jobs, threads=AT_ONCE, ahead=len(jobs)))
    spoke = {each.id for (each, _), silent in zip(pairs, results, strict=True) if not silent}
    wrong = [f"{each.id}: {url}" for each, url in pairs if each.id not in spoke]
    if wrong:
        raise HostFault(
            f"repositories: no answer within {ANSWER:.0f} s",
            evidence=wrong,
            hint="try again later, or write another mirror; behind a proxy, write `proxy`",
        )


def _asked(repository: YumRepository, variables: Mapping[str, str]) -> list[str]:
    """What dnf would ask for first; what has a variable that only dnf knows is left to it."""
    metadata = (f"{url.rstrip('/')}/repodata/repomd.xml" for url in repository.baseurl)
    lists = filter(None, (repository.mirrorlist, repository.metalink))
    urls = (filled(url, variables) for url in (*metadata, *lists))
    return [url for url in urls if not url.startswith("file:") and "$" not in url]


def _silent(url: str, proxy: str | None) -> bool:
    """Whether nobody says anything. All else is somebody's answer, were it "refused"."""
    import urllib.error
    from http.client import HTTPException

    try:
        with _opened(url, proxy) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        error.close()
    except OSError as error:
        return isinstance(getattr(error, "reason", error), TimeoutError)
    except (ValueError, HTTPException):
        return False
    return False


def _opened(url: str, proxy: str | None) -> IO[bytes]:
    import urllib.request

    proxies = {"http": proxy, "https": proxy, "ftp": proxy} if proxy else None  # or the environment's
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    opener.addheaders = [("User-Agent", "doit-ami")]  # some turn Python's own away
    answer: IO[bytes] = opener.open(url, timeout=ANSWER)
    return answer
