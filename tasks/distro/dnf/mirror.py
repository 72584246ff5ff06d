"""A mirror of what an RPM image needs: chosen, fetched and checked by dnf, indexed by createrepo_c.

Every repository of the image keeps its name and its own folder, with its packages, its keys, and those of its groups and
modules: priorities, exclusions and checks of signatures are what they were, and so is what dnf makes of them.
"""

import gzip
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree as ET

from tasks.distro import Wanted, dnf
from tasks.distro.dnf.keys import gather
from tasks.distro.held import Held, fresh, put
from tasks.kit.fault import ToolFault
from tasks.kit.proc import Command, run
from tasks.kit.report import Report
from tasks.spec.record import Package
from tasks.spec.source import YumRepository
from tasks.spec.tool import Tool

HOOKS = (dnf.SETTINGS,)
TOOLS = (Tool("createrepo_c", "to index a mirror of RPM packages", "createrepo-c", "createrepo_c"),)
METADATA = "{http://linux.duke.edu/metadata/common}"
# What packages alone do not say: in a repository's own words, as they stand in its repomd.xml.
RECORD = re.compile(
    r'(?P<before><data type="(?P<type>group\w*|modules)">(?:(?!</data>).)*?)'
    r'<location [^>]*?href="(?:[^"]*/)?(?P<name>[^"/]+)"[^>]*>'
    r"(?P<after>.*?</data>)",
    re.DOTALL,
)


def tools(wanted: Wanted) -> tuple[Tool, ...]:
    return (*dnf.tools(wanted), *TOOLS)


def repository(
    wanted: Wanted, work: Path, *, key: Path, hooks: Mapping[str, Path], log: Path, report: Report
) -> tuple[Path, tuple[Held, ...]]:
    del key  # packages keep the signatures of their distribution
    work = work.absolute()  # inside the sandbox, the working directory is another
    _unshare(work / "cache")
    keys = gather(dnf.repositories_of(wanted), work / "keys")
    packages = dnf.resolve(wanted, work, hooks=hooks, log=log, report=report, network=True)
    report.said("indexing the mirror")
    new = fresh(work / "repository")
    files = _files(wanted, work, packages, log)
    held = tuple(_placed(files, new, work, wanted.epoch))
    for each in dnf.repositories_of(wanted):
        _index(new / each.id, _cached(work, each), wanted, log)
        for number, url in enumerate(keys[each.id]):
            (new / each.id / f"{dnf.KEY}{number}").write_bytes(
                Path(unquote(urlsplit(url).path)).read_bytes()
            )
    trial, there = fresh(work / "trial"), dnf.mirrored(wanted, new)
    again = dnf.resolve(there, trial, hooks=hooks, log=log, report=report, network=False)
    if again != packages:
        differ = (f"{each.name}-{each.version}.{each.architecture}" for each in {*again} ^ {*packages})
        raise ToolFault("the mirror would make another image", evidence=sorted(differ), where=str(new))
    chosen = {file for _, _, file in files}
    for file in (*(work / "cache").rglob("*.rpm"), *(work / "cache").rglob("*.copy")):
        if file not in chosen:
            file.unlink()
    shutil.rmtree(trial)
    return new, held


def _unshare(cache: Path) -> None:
    """What was fetched before in files of its own: dnf writes into one that it finds wanting, and a mirror may be whole."""
    for file in cache.rglob("*.rpm"):
        if file.stat().st_nlink > 1:
            copy = file.with_suffix(".copy")
            shutil.copyfile(file, copy)
            copy.replace(file)


def _cached(work: Path, repository: YumRepository) -> list[Path]:
    """dnf's folders of a repository, the one that it used last before those of other addresses."""
    name = re.compile(rf"{re.escape(repository.id)}-[0-9a-f]{{16}}")
    found = (each for each in (work / "cache").iterdir() if name.fullmatch(each.name))
    return sorted(found, key=_used, reverse=True)


def _used(folder: Path) -> float:
    """When dnf last found that its metadata is upstream's: it touches it then."""
    return max((each.stat().st_mtime for each in folder.glob("repodata/*")), default=0.0)


def _files(
    wanted: Wanted, work: Path, packages: Iterable[Package], log: Path
) -> list[tuple[str, Package, Path]]:
    """The file of each package, and the repository that it is from; a failed run before may have left others."""
    found: dict[Package, tuple[str, Path]] = {}
    for each in dnf.repositories_of(wanted):
        cached = (folder / "packages" for folder in _cached(work, each))
        for folder in filter(Path.is_dir, (*cached, *map(Path, dnf.local(each)))):
            for package, file in _read(folder, fresh(work / "read"), log):
                found.setdefault(package, (each.id, file))
    lacking = [each.name for each in packages if _plain(each) not in found]
    if lacking:
        raise ToolFault(
            "what dnf has fetched cannot be found", evidence=lacking, where=str(work / "cache")
        )
    return [(found[_plain(each)][0], each, found[_plain(each)][1]) for each in packages]


def _plain(package: Package) -> Package:
    """Without an epoch of 0: an index does not tell it from none."""
    return package.model_copy(update={"version": package.version.removeprefix("0:")})


def _read(folder: Path, scratch: Path, log: Path) -> Iterator[tuple[Package, Path]]:
    """What the packages in a folder say they are; those that came in part only are left out."""
    _createrepo(folder, scratch, 0, log)
    (primary,) = scratch.glob("repodata/*-primary.xml.gz")
    with gzip.open(primary) as file:
        root = ET.parse(file).getroot()  # noqa: S314 - what createrepo_c has written
    for package in root:
        part = {each.tag.removeprefix(METADATA): each for each in package}
        version, text = part["version"].attrib, {tag: each.text or "" for tag, each in part.items()}
        epoch = "" if version["epoch"] == "0" else f"{version['epoch']}:"
        evr = f"{epoch}{version['ver']}-{version['rel']}"
        yield (
            Package(name=text["name"], version=evr, architecture=text["arch"]),
            folder / part["location"].attrib["href"],
        )


def _placed(
    files: Iterable[tuple[str, Package, Path]], new: Path, work: Path, epoch: int
) -> Iterator[Held]:
    for name, package, file in files:
        # createrepo_c orders by file name, as it did upstream: it is rpm's order of installation that hangs on it.
        place = f"{name}/Packages/{file.name}"
        yield Held(package, place, put(file, new / place, ours=work, epoch=epoch))


def _createrepo(folder: Path, into: Path, epoch: int, log: Path) -> None:
    stamped = ("--revision", str(epoch), "--set-timestamp-to-revision")
    form = ("--no-database", "--checksum", "sha256", "--general-compress-type", "gz")
    argv = ("createrepo_c", "--quiet", *form, *stamped, "--outputdir", str(into), str(folder))
    run(Command(argv, "index the mirror"), log=log)


def _index(folder: Path, cached: list[Path], wanted: Wanted, log: Path) -> None:
    """repodata/: the same packages, the same bytes. Groups and modules as upstream's index has them."""
    folder.mkdir(exist_ok=True)
    _createrepo(folder, folder, wanted.epoch, log)
    repomd, upstream = folder / "repodata/repomd.xml", cached[0] / "repodata"
    records = []
    for match in RECORD.finditer((upstream / repomd.name).read_text()):
        file = upstream / match["name"]
        if file.is_file() and (wanted.groups or match["type"] == "modules"):
            shutil.copyfile(file, folder / "repodata" / file.name)
            here = f'<location href="repodata/{file.name}"/>'
            records.append(f"  {match['before']}{here}{match['after']}\n")
    text = repomd.read_text().replace("</repomd>", "".join((*records, "</repomd>")))
    repomd.write_text(text)
