"""The shipped configurations, read by the package managers themselves: most of their mirrors cannot be reached from everywhere.

What each becomes lies in tests/golden/. After a change that is meant, `GOLDEN=renew pytest tests/distro/test_configurations.py`
writes them anew: look at what git says of them. What extends another has one of its own only where it differs.
"""

import json
import os
import re
import subprocess
from configparser import ConfigParser
from functools import partial
from pathlib import Path

import pytest
import yaml

from tasks import boot, img, rootfs
from tasks.distro import FAMILY, Wanted, apt, dnf, system
from tasks.distro.dnf import keys
from tasks.distro.dnf.release import BASEARCH
from tasks.kit.proc import tool
from tasks.plan.content import rendered
from tasks.plan.machine import MODELS
from tasks.spec.aptsources import host_repositories
from tasks.spec.load import load
from tasks.spec.model import Image
from tests.projects import ROOT

GOLDEN = ROOT / "tests/golden"
NAMES = sorted(path.stem for path in (ROOT / "config/images").glob("*.yaml"))
OLD = "centos-4.7-i386"  # whose every word is that of 2008
# yum's own options, which dnf knows nothing of: their time is that of the image of 2008.
YUMS = {"logfile", "protect"}
DEBIAN = """\
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
# By dnf's own Python, as its command reads them: what it says against the files, and what it makes of each repository.
READER = """
import json, logging, sys
import dnf, dnf.rpm

said = []
class Ear(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())

for name in ("dnf", "libdnf"):
    logger = logging.getLogger(name)
    logger.setLevel(1)
    logger.addHandler(Ear())

def read(path, release, architecture):
    del said[:]
    base = dnf.Base()
    base.conf.read(path)
    base.conf.installroot = path + ".tree"
    base.conf.substitutions.update(releasever=release, arch=architecture, basearch=dnf.rpm.basearch(architecture))
    base.read_all_repos()
    keys = ("name", "metalink", "mirrorlist", "gpgcheck", "repo_gpgcheck", "priority")
    lists = ("baseurl", "gpgkey", "excludepkgs")
    return {
        "said": [line for line in said if "onfiguration" in line],
        "cachedir": base.conf.cachedir,
        "reposdir": list(base.conf.reposdir),
        "weak": base.conf.install_weak_deps,
        "repositories": {
            each.id: {
                **{key: getattr(each, key) for key in keys},
                **{key: list(getattr(each, key)) for key in lists},
            }
            for each in base.repos.iter_enabled()
        },
    }

json.dump({name: read(*what) for name, what in json.load(sys.stdin).items()}, sys.stdout)
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Every shipped image, as a Debian machine with the usual sources loads it."""
    etc = tmp_path_factory.mktemp("etc")
    (etc / "apt").mkdir()
    (etc / "apt/sources.list").write_text("")
    (etc / "apt/sources.list.d").mkdir()
    (etc / "apt/sources.list.d/debian.sources").write_text(DEBIAN)
    (etc / "os-release").write_text("ID=debian\nVERSION_CODENAME=bookworm\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr("tasks.spec.load.host_repositories", partial(host_repositories, etc=etc))
        return {image.name: image for image in load().images}


@pytest.fixture
def image(images, request) -> Image:
    found: Image = images[request.param]
    return found


def of(family: str) -> list[str]:
    """The names of a family's images: by their distribution, or that of the image that they extend."""

    def distribution(name: str) -> str:
        value = yaml.safe_load((ROOT / f"config/images/{name}.yaml").read_text())
        return value.get("distro") or distribution(value["extends"])

    return [name for name in NAMES if FAMILY[distribution(name)] == family]


def compared(name: str, kind: str, text: str) -> None:
    """With its golden file, or the one of the image that it is a variant of."""
    written = yaml.safe_load((ROOT / f"config/images/{name}.yaml").read_text())
    own, usual = GOLDEN / f"{name}.{kind}", GOLDEN / f"{written.get('extends', name)}.{kind}"
    if os.environ.get("GOLDEN") == "renew":
        own.unlink(missing_ok=True)
        if not usual.exists() or usual.read_text() != text:
            own.write_text(text)
    golden = own if own.exists() else usual
    assert text == golden.read_text(), f"look at the difference; if it is meant: {__doc__}"


def yum_conf(image: Image, work: Path, patch: pytest.MonkeyPatch) -> Path:
    """As the stage writes it, but for the keys: those are the network's."""

    def gathered(repositories, folder):
        return {
            each.id: tuple(f"file:///keys/{Path(key).name}" for key in each.gpgkey)
            for each in repositories
        }

    patch.setattr(keys, "gather", gathered)
    hooks = {dnf.SETTINGS: ROOT / "templates" / dnf.SETTINGS}
    return dnf._settings(Wanted.of(image, 0), hooks, work)


@pytest.mark.parametrize("image", of("dnf"), indirect=True)
def test_a_yum_conf_is_as_it_was_looked_at(image, tmp_path, monkeypatch):
    """A person read it once, beside what the distribution's own package of repositories holds. Comments may change."""
    lines = yum_conf(image, tmp_path, monkeypatch).read_text().splitlines()
    compared(image.name, "yum.conf", "".join(f"{line}\n" for line in lines if not line.startswith("#")))


@pytest.fixture(scope="module")
def dnfs_view(images, tmp_path_factory):
    """What dnf says of each yum.conf, all asked at once."""
    command = Path(tool("dnf") or "/nowhere")
    shebang = command.read_bytes().partition(b"\n")[0] if command.exists() else b""
    if not shebang.startswith(b"#!"):
        pytest.skip("this machine's dnf is not the one that is written in Python")
    space = tmp_path_factory.mktemp("yum")
    with pytest.MonkeyPatch.context() as patch:
        asked = {
            name: (
                str(yum_conf(images[name], space / name, patch)),
                images[name].release,
                BASEARCH[images[name].architecture],
            )
            for name in of("dnf")
        }
    python = shebang.decode()[2:].split()[0]
    done = subprocess.run(
        [python, "-c", READER], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("image", of("dnf"), indirect=True)
def test_dnf_knows_every_option(image, dnfs_view):
    """But for two of yum's, and has nothing against any value."""
    said = dnfs_view[image.name]["said"]
    known = {
        match[1] for line in said if (match := re.match(r"Unknown configuration option: (\w+) = ", line))
    }
    assert known <= YUMS
    assert [line for line in said if not line.startswith("Unknown configuration option")] == []


@pytest.mark.parametrize("image", of("dnf"), indirect=True)
def test_dnf_sees_every_repository_with_what_was_written(image, dnfs_view):
    """And none of the host's; release and architecture are those of the image."""
    seen = dnfs_view[image.name]
    assert seen["cachedir"] == f"/{dnf.CACHE}"
    assert seen["reposdir"] == ["/dev/null"]
    assert seen["weak"] == image.yum.weak_deps
    assert list(seen["repositories"]) == [each.id for each in image.repositories]
    variables = {"$releasever": image.release, "$basearch": BASEARCH[image.architecture]}

    def filled(text: str | None) -> str | None:
        for name, value in variables.items():
            text = text.replace(name, value) if text else text
        return text

    for each in image.repositories:
        found = seen["repositories"][each.id]
        assert found["name"] == filled(each.name)
        assert found["baseurl"] == [filled(url) for url in each.baseurl]
        assert found["mirrorlist"] == filled(each.mirrorlist)
        assert found["metalink"] == filled(each.metalink)
        assert (found["gpgcheck"], found["repo_gpgcheck"]) == (True, False)
        assert found["gpgkey"] == [f"file:///keys/{Path(key).name}" for key in each.gpgkey]
        assert found["priority"] == (1 if each.protect else 99)
        assert "$" not in json.dumps(found), "dnf filled in every variable"


@pytest.mark.parametrize("image", of("dnf"), indirect=True)
def test_packages_and_keys_come_from_the_distributions_own_hosts(image):
    """By https, and signed."""
    for each in image.repositories:
        assert each.gpgcheck
        assert all(url.startswith("https://") for url in (*each.addresses, *each.gpgkey))


@pytest.mark.parametrize("image", of("apt"), indirect=True)
def test_apt_sources_are_as_they_were_looked_at(image):
    """Debian's are this machine's own, for the image's release."""
    compared(image.name, "sources", apt.sources(image.repositories))


@pytest.mark.parametrize("image", of("apt"), indirect=True)
def test_apt_would_fetch_every_suite_and_component_for_the_images_architecture(image, tmp_path):
    """By its own word; nothing is fetched."""
    sources, lists = tmp_path / "image.sources", tmp_path / "lists"
    sources.write_text(apt.sources(image.repositories))
    (lists / "partial").mkdir(parents=True)
    architecture = apt.ARCHITECTURES[image.architecture]
    options = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": lists,
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
    }
    argv = [
        "apt-get",
        "update",
        "--print-uris",
        *(f"-o{name}={value}" for name, value in options.items()),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    wanted = [
        f"{each.uri}/dists/{suite}/{component}/binary-{architecture}/Packages"
        for each in image.repositories
        for suite in each.suites
        for component in each.components
    ]
    found = re.findall(r"^'(.+/Packages)(?:\.\w+)?' ", done.stdout, re.MULTILINE)
    assert sorted(url for url in found if "/binary-all/" not in url) == sorted(wanted)
    assert all(each.signed_by for each in image.repositories)


@pytest.mark.parametrize("image", NAMES, indirect=True)
def test_every_stage_takes_the_image(image):
    """Its orders, its tools and its templates."""
    made = img.Order.of(image, 0)
    assert rootfs.tools(rootfs.Order.of(image, 0))
    assert boot.tools(boot.Order.of(image))[0].program == MODELS[image.architecture].program
    assert made.disk.layout in made.system.layouts
    for laid in made.skeleton:
        rendered(laid.template, (ROOT / "templates" / laid.template).read_text(), img._values(made))


@pytest.mark.parametrize("image", [name for name in NAMES if name != OLD], indirect=True)
def test_the_kernel_speaks_on_the_machines_serial_line(image):
    """Which an arm64 machine calls by another name, EC2's by one and QEMU's by another: the last that is there is the console."""
    values = img._values(img.Order.of(image, 0))
    name, before = ("cmdline", "") if image.disk.layout == "hybrid" else ("menu.lst", "kernel /vmlinuz ")
    text = rendered(name, (ROOT / "templates" / name).read_text(), values)
    (line,) = re.findall(rf"^ *{before}(root=UUID=\S+ ro .*)$", text, re.MULTILINE)
    consoles = re.findall(r"console=(\S+)", line)
    if image.architecture == "arm64":
        assert consoles == ["ttyS0,115200n8", "ttyAMA0,115200n8"]
    else:
        assert consoles[-1] == "ttyS0,115200n8"


@pytest.mark.parametrize("image", [name for name in NAMES if name != OLD], indirect=True)
def test_what_a_hybrid_image_grows_with_is_in_it(image):
    """sfdisk is a package of its own in Debian's family; elsewhere util-linux has it."""
    if image.disk.layout == "hybrid":
        wanted = {"fdisk"} if FAMILY[image.distro] == "apt" else {"util-linux", "e2fsprogs"}
        assert wanted <= set(image.packages)
        assert "grow-root.service" in img.Order.of(image, 0).units


@pytest.mark.parametrize("image", NAMES, indirect=True)
def test_only_the_images_of_instance_store_have_a_bare_file_system(image):
    """All others boot by themselves, by every firmware that EC2 has for their architecture."""
    of_s3 = image.name in (OLD, "debian-12-s3")
    assert (image.ami.backing == "s3") == of_s3
    assert (image.disk.layout == "none") == of_s3
    modes = {"x86_64": "uefi-preferred", "arm64": "uefi"}
    assert image.boot_mode == (None if of_s3 else modes[image.architecture])


@pytest.mark.parametrize("image", [name for name in NAMES if name != OLD], indirect=True)
def test_something_brings_the_network_up(image):
    """NetworkManager by itself, or networkd, which is enabled and comes with systemd or by its name."""
    units = system(image.distro, image.release).units
    if "NetworkManager" in image.packages:
        assert "systemd-networkd.service" not in units
    else:
        assert "systemd-networkd.service" in units
        assert "systemd-resolved" in image.packages
        assert "systemd-networkd" in image.packages or FAMILY[image.distro] == "apt"


@pytest.mark.parametrize("image", [name for name in NAMES if name != OLD], indirect=True)
def test_an_image_is_called_as_what_it_holds(image):
    """Its host name, and what a person reads who logs in."""
    family = image.name.removesuffix("-arm64")
    assert (image.name != family) == (image.architecture == "arm64")
    assert image.hostname == family.replace(".", "-")
    assert "built by doit-ami" in (image.files["/etc/motd"].content or "")
    assert ("for arm64" in image.ami.description) == (image.architecture == "arm64")


def test_yums_own_options_are_those_of_2008(tmp_path, images, monkeypatch):
    """`protect` stands where it is asked for and nowhere else."""
    for name in of("dnf"):
        text = yum_conf(images[name], tmp_path / name, monkeypatch).read_text()
        parser = ConfigParser(interpolation=None)
        parser.read_string(text)
        protected = {section for section in parser.sections() if "protect" in parser[section]}
        assert protected == {each.id for each in images[name].repositories if each.protect}
