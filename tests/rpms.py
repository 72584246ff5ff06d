"""Keys, RPMs of a few files each, and repositories of them: all that a package manager can be handed, right or wrong, in a second.

The programs are the real ones: rpmbuild, rpmsign, createrepo_c, gpg. They get a home of their own, so that no setting
of the user's reaches them. Times are the epoch's; signatures differ from run to run, as gpg's do.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from tasks.kit.proc import PATH
from tests.trees import EPOCH

# What every spec of ours begins with: files go in as they lie there, quickly, and the same files give the same RPM.
PREAMBLE = """\
%define _rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm
%define _binary_payload w1.gzdio
%define _buildhost localhost
%define _unpackaged_files_terminate_build 0
%define _binaries_in_noarch_packages_terminate_build 0
%define __check_files %{nil}
%define _build_id_links none
%define debug_package %{nil}
%define use_source_date_epoch_as_buildtime 1
%define clamp_mtime_to_source_date_epoch 1
"""
SCRIPTS = ("pretrans", "pre", "post", "preun", "postun", "posttrans")

Groups = Mapping[str, Mapping[str, str | Sequence[str]]]


@dataclass(frozen=True)
class Key:
    """A pair to sign with. `home` is gpg's; `public` is what a `gpgkey:` names, in ASCII armour."""

    home: Path
    name: str
    public: Path


def environment(home: Path) -> dict[str, str]:
    """Nothing of the user's. GPG_TTY is set because rpmsign looks for a terminal, and warns once a package."""
    return {
        "PATH": PATH,
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": str(EPOCH),
        "GNUPGHOME": str(home),
        "GPG_TTY": "/dev/null",
    }


def run(*argv: str | Path, home: Path) -> str:
    """What a program says. A failure quotes all of it."""
    done = subprocess.run(
        [str(each) for each in argv],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(home),
    )
    assert done.returncode == 0, f"{' '.join(map(str, argv))[:400]}\n{done.stdout}"
    return done.stdout


def signing_key(folder: Path, name: str = "doit-ami tests") -> Key:
    """A key that nobody trusts yet. Another name, or another folder, makes a stranger's.

    `folder` must not lie deep: gpg's agent makes a socket there, whose path may have 107 characters.
    """
    home = folder / f"gpg-{name.replace(' ', '-')}"
    home.mkdir(mode=0o700, parents=True)
    gpg = ("gpg", "--batch", "--quiet", "--no-auto-check-trustdb")
    identity = f"{name} <tests@example.invalid>"
    try:
        run(
            *gpg,
            "--passphrase",
            "",
            "--quick-generate-key",
            identity,
            "rsa3072",
            "sign",
            "never",
            home=home,
        )
        public = folder / f"RPM-GPG-KEY-{name.replace(' ', '-')}"
        public.write_text(run(*gpg, "--armor", "--export", identity, home=home))
    finally:
        _end_agent(home)
    return Key(home, identity, public)


def stranger(folder: Path) -> Key:
    """A key that no repository is known by."""
    return signing_key(folder, "a stranger")


def sign(paths: Iterable[Path], key: Key) -> None:
    """Sign RPMs in place, instead of whoever signed them before."""
    wanted, workers = sorted(paths), os.cpu_count() or 1
    argv = ("rpmsign", "--resign", "--define", "__gpg /usr/bin/gpg", "--define", f"_gpg_name {key.name}")
    # Before the threads: two gpgs at once would each start one.
    run("gpgconf", "--homedir", key.home, "--launch", "gpg-agent", home=key.home)
    try:
        with ThreadPoolExecutor(workers) as pool:
            shares = (wanted[number::workers] for number in range(workers))
            list(pool.map(lambda share: share and run(*argv, *share, home=key.home), shares))
    finally:
        _end_agent(key.home)


def _end_agent(home: Path) -> None:
    """gpg starts one behind our back; it would wait for the next signature for ever."""
    run("gpgconf", "--homedir", home, "--kill", "all", home=home)


def build(spec: str, tree: Path, folder: Path, *, arch: str = "noarch") -> list[Path]:
    """The RPMs of a spec that takes its files from `tree`, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rpmbuild-") as scratch:
        (Path(scratch) / "spec").write_text(spec)
        said = run(*rpmbuild(Path(scratch) / "spec", tree, folder, arch), home=Path(scratch))
    return [
        Path(line.removeprefix("Wrote: ")) for line in said.splitlines() if line.startswith("Wrote: ")
    ]


def rpmbuild(spec: Path, tree: Path, folder: Path, arch: str) -> tuple[str, ...]:
    """The command: there is nothing to compile, and what lies in `tree` stays there."""
    own = {"_topdir": spec.parent / "top", "_rpmdir": folder.absolute()}
    defined = (word for name, value in own.items() for word in ("--define", f"{name} {value}"))
    return (
        "rpmbuild",
        "-bb",
        "--noclean",
        "--buildroot",
        str(tree),
        "--target",
        arch,
        *defined,
        str(spec),
    )


def tiny(
    folder: Path,
    name: str,
    *,
    version: str = "1",
    release: str = "1",
    epoch: int | None = None,
    arch: str = "noarch",
    files: Mapping[str, str | None] = {},
    owner: str = "root",
    requires: Iterable[str] = (),
    provides: Iterable[str] = (),
    conflicts: Iterable[str] = (),
    obsoletes: Iterable[str] = (),
    scripts: Mapping[str, str] = {},
) -> Path:
    """An RPM that holds and wants what is said here, and nothing else.

    A file of None is a folder; one that begins with "#!" may be run. A script is for /bin/sh, which somebody must
    provide, unless it begins with "<lua>": rpm runs that itself, even in a root that holds nothing.
    """
    tags = {
        "Name": [name],
        "Epoch": [] if epoch is None else [str(epoch)],
        "Version": [version],
        "Release": [release],
        "Summary": [f"{name}, for tests"],
        "License": ["none"],
        "AutoReqProv": ["no"],
        "Requires": requires,
        "Provides": provides,
        "Conflicts": conflicts,
        "Obsoletes": obsoletes,
    }
    head = "".join(f"{tag}: {value}\n" for tag, values in tags.items() for value in values)
    with tempfile.TemporaryDirectory(prefix="tiny-") as scratch:
        ours = [_planted(Path(scratch), path, text, owner) for path, text in files.items()]
        scriptlets = [script(when, text) for when, text in scripts.items()]
        spec = [PREAMBLE, head, "%description\nFor tests.\n", *scriptlets, "%files\n", *ours]
        (built,) = build("".join(spec), Path(scratch), folder, arch=arch)
    return built


def script(when: str, text: str, package: str = "") -> str:
    """A scriptlet of a spec, as it was written: nothing in it is a macro. "<program>" before it is what runs it."""
    assert when in SCRIPTS, f"no such scriptlet: {when}"
    of = f" -n {package}" if package else ""
    named = re.match("<([^>]+)>", text)
    by = f" -p {named[0] if named[1] == 'lua' else named[1]}" if named else ""
    return f"%{when}{of}{by}\n{literal(text[named.end() if named else 0 :].strip())}\n"


def literal(text: str) -> str:
    """Text that rpmbuild is to take as it stands."""
    return text.replace("%", "%%")


def _planted(tree: Path, path: str, text: str | None, owner: str) -> str:
    place = tree / path.lstrip("/")
    if text is None:
        place.mkdir(parents=True, exist_ok=True)
        return f"%dir %attr(0755,{owner},{owner}) {listed(path)}\n"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    os.utime(place, (EPOCH, EPOCH))
    return f"%attr({'0755' if text.startswith('#!') else '0644'},{owner},{owner}) {listed(path)}\n"


def listed(path: str) -> str:
    """A path as %files takes it: rpmbuild reads patterns, and knows no backslash."""
    return '"' + "".join(f"[{each}]" if each in "[*?{" else each for each in literal(path)) + '"'


def index(
    folder: Path, *, groups: Groups | None = None, checksum: str = "sha256", revision: int = EPOCH
) -> Path:
    """The repodata of all RPMs below `folder`. `groups`: id and members, by name.

    `checksum` is "sha" for one of 2005: SHA-1, and files that have no digest in their names.
    """
    aged = ("--simple-md-filenames",) if checksum == "sha" else ()
    with tempfile.TemporaryDirectory(prefix="comps-") as scratch:
        given: tuple[str | Path, ...] = ()
        if groups:
            comps = Path(scratch) / "comps.xml"
            comps.write_text(_comps(groups))
            os.utime(comps, (EPOCH, EPOCH))
            given = ("--groupfile", comps)
        stamped = ("--revision", str(revision), "--set-timestamp-to-revision")
        argv = (
            "createrepo_c",
            "--quiet",
            "--no-database",
            "--checksum",
            checksum,
            *stamped,
            *aged,
            *given,
        )
        run(*argv, folder, home=Path(scratch))
    return folder


def _comps(groups: Groups) -> str:
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<comps>"]
    for name, group in groups.items():
        lines += [
            "<group>",
            f"<id>{escape(str(group['id']))}</id><name>{escape(name)}</name><description>{escape(name)}</description>",
            "<default>true</default><uservisible>true</uservisible><packagelist>",
        ]
        for kind in ("mandatory", "default", "optional"):
            member = f"<packagereq type={quoteattr(kind)}>".__add__
            lines += [f"{member(escape(each))}</packagereq>" for each in group.get(kind, ())]
        lines.append("</packagelist></group>")
    return "\n".join([*lines, "</comps>", ""])
