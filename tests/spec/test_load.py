"""Configuration that is wrong is refused before anything is touched, all of it at once, in the user's own words."""

import re
import shutil
from pathlib import Path

import pytest

from tasks.kit.fault import ConfigFault
from tasks.spec.ami import Ami
from tasks.spec.load import load, parse
from tasks.spec.model import AptImage, Bundle, RpmImage
from tests.projects import ROOT

KEPT = ("debian-12.yaml", "centos-4.7-i386.yaml")  # one of each family


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The configuration as shipped, to be spoiled, with one image of each family.

    Debian's repositories are named, so that no machine's sources matter.
    """
    shutil.copytree(ROOT / "config", tmp_path / "config")
    shutil.copytree(ROOT / "templates", tmp_path / "templates")
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "config/images").iterdir():
        if path.name not in KEPT:
            path.unlink()
    image = tmp_path / "config/images/debian-12.yaml"
    image.write_text(
        image.read_text()
        + "repositories: [{uri: 'https://mirror.example/debian', suites: [bookworm]}]\n"
    )
    return tmp_path / "config"


def wrong(config: Path) -> list[str]:
    with pytest.raises(ConfigFault) as caught:
        load(config, config.parent / "templates")
    return [line.removeprefix(f"{config}/") for line in caught.value.evidence]


IMAGE = "images/debian-12.yaml"
RPM = "images/centos-4.7-i386.yaml"
DESCRIPTION = "description: Debian 12 (bookworm), built from packages"
BASE_REPOSITORY = "    baseurl: https://vault.centos.org/4.7/os/i386\n"
CASES = [
    # file, what is replaced, by what, what is said
    (
        IMAGE,
        "size: 2 GiB",
        "size: 2 GB",
        "disk.size: '2 GB' is not a size; write a whole number and one of B, KiB",
    ),
    (IMAGE, "size: 2 GiB", "size: 2048", "disk.size: 2048 is not a size"),
    (IMAGE, "size: 2 GiB", "size: 1 MiB", "disk: size must be between 128 MiB and 16 TiB"),
    (IMAGE, "size: 2 GiB", "size: 2000 MiB", "disk.size: an EBS volume has whole GiB; write 2 GiB"),
    (RPM, "size: 2000 MiB", "size: 11 GiB", "disk.size: an S3-backed image is at most 10 GiB"),
    (IMAGE, "layout: hybrid", "layout: hybird", "disk.layout: 'hybird' is not one of 'hybrid', 'none'"),
    (
        IMAGE,
        "filesystem: ext4",
        "filesystem: btrfs",
        "disk.filesystem: 'btrfs' is not one of 'ext3', 'ext4'",
    ),
    (IMAGE, "disk: {size: 2 GiB, filesystem: ext4, layout: hybrid}", "", "disk: is missing"),
    (IMAGE, "packages:", "pakages:", "pakages: is not a key; did you mean packages?"),
    (
        IMAGE,
        "filesystem: ext4",
        "filesytem: ext4",
        "disk.filesytem: is not a key; did you mean filesystem?",
    ),
    (
        IMAGE,
        "{key: ed25519, ",
        "{key_from: user, ",
        "ssh.key_from: 'user' is not one of 'image', 'metadata'",
    ),
    (
        IMAGE,
        "{key: ed25519, ",
        "{key_from: cloud-init, ",
        "ssh.key_from: cloud-init is not among the packages; add it to `packages`",
    ),
    (IMAGE, "hostname: debian-12", "hostname: -x-", "hostname: '-x-': String should match"),
    (IMAGE, "hostname: debian-12", "hostname: [a]", "hostname: Input should be a valid string"),
    (IMAGE, "hostname: debian-12", "hostname: a\nhostname: b", "hostname: is written twice; keep one"),
    (IMAGE, "hostname: debian-12", "hostname: {", "is not YAML"),
    (
        IMAGE,
        "hostname: debian-12",
        "scripts: [{run: config/none.sh}]",
        "scripts: there is no config/none.sh",
    ),
    (IMAGE, "/etc/motd: {content", "etc/motd: {content", "files.etc/motd"),
    (IMAGE, "/etc/motd: {content", "/../motd: {content", "is not a path inside the image"),
    (IMAGE, "{content: ", "{template: nosuch, content: ", "give either `content` or `template`"),
    (IMAGE, '{content: "Debian 12, built by doit-ami\\n"}', "{template: nosuch}", "there is no"),
    (
        IMAGE,
        "{content: ",
        "{mode: 644, content: ",
        "644 is not a file mode; write it as octal digits in quotes: '0644'",
    ),
    (IMAGE, "key: ed25519", "key: dsa", "ssh.key: 'dsa' is not one of 'ed25519', 'rsa'"),
    (
        IMAGE,
        "user: root",
        "extra_keys: [nonsense]",
        "ssh.extra_keys[0]: 'nonsense' is not a public SSH key",
    ),
    (RPM, "backing: s3", "backing: s3\n  ena: true", "ena: paravirtual instances have none"),
    (
        RPM,
        "kernel_id: aki-a71cf9ce",
        "kernel_id: pv-grub",
        "ami.kernel_id: 'pv-grub': String should match",
    ),
    (IMAGE, DESCRIPTION, "virtualization: paravirtual", "write `backing: s3`, or `virtualization: hvm`"),
    (IMAGE, DESCRIPTION, "volume: {type: gp4}", "ami.volume.type: 'gp4' is not one of 'gp3'"),
    (
        IMAGE,
        DESCRIPTION,
        "volume: {throughputs: 9}",
        "ami.volume.throughputs: is not a key; did you mean throughput?",
    ),
    (
        IMAGE,
        DESCRIPTION,
        "boot_mode: uefi\n  uefi_data: config/none.uefi",
        "ami.uefi_data: there is no config/none.uefi",
    ),
    (
        IMAGE,
        "count: 1",
        "user_data: config/none.sh",
        "launch.user_data: there is no config/none.sh",
    ),
    (IMAGE, "count: 1", "type: tiny", "launch.type: 'tiny' is no instance type; write one"),
    ("site.yaml", "[debian-12]", "[debian-12, debian-12]", "images: named twice: debian-12"),
    (
        "site.yaml",
        "[debian-12]",
        "[debain-12]",
        "there is no config/images/debain-12.yaml; did you mean debian-12?",
    ),
    (
        IMAGE,
        '"{image}-{date}',
        '"{user}-{date}',
        "there is no {user}; write {image} and {date} and {digest}",
    ),
    (IMAGE, '"{image}-{date}', '"a_b#{date}', "is no name for an AMI"),
    (
        RPM,
        "virtualization: paravirtual",
        "virtualization: hvm",
        "hvm instances boot what is on",
    ),
    (IMAGE, DESCRIPTION, "tags: {'doit-ami:x': y}", "these are not yours to set"),
    (IMAGE, DESCRIPTION, "tags: {Name: y}", "tags: Name: these are not yours"),
    (
        IMAGE,
        "architecture: x86_64",
        "architecture: sparc",
        "architecture: 'sparc' is not one of 'i386', 'x86_64'",
    ),
    (
        "clouds/local.yaml",
        "kind: local",
        "kind: aws\nendpoint_url: http://s3.example",
        "would send the image in the clear",
    ),
    (
        "clouds/local.yaml",
        "kind: local",
        "kind: local\nprofile: me",
        "profile: the local cloud has its own",
    ),
    ("clouds/local.yaml", "kind: local", "kind: local\nbucket: Bad_Name", "is no name for a bucket"),
    ("site.yaml", "cloud: local ", "cloud: lokal ", "known: aws, local"),
    (
        "site.yaml",
        "epoch: 2026-01-01T00:00:00Z",
        "epoch: yesterday",
        "epoch: 'yesterday': Input should be a valid datetime",
    ),
    ("site.yaml", "cloud: local ", "secret_key: hunter2\ncloud: local ", "secret_key: is not a key"),
    # what belongs to one family is no key of the other
    (IMAGE, "hostname: debian-12", "groups: [Base]", "groups: is not a key"),
    (IMAGE, "hostname: debian-12", "tls: disabled", "tls: is not a key"),
    (IMAGE, "uri: 'https", "baseurl: 'https", "repositories[0].uri: is missing"),
    (IMAGE, "uri: 'https://mirror", "uri: 'gopher://mirror", "repositories[0].uri: 'gopher://mirror"),
    (IMAGE, "suites: [bookworm]", "suites: []", "repositories[0].suites: Tuple should have at least 1"),
    (
        IMAGE,
        "distro: debian",
        "distro: debain",
        "distro: 'debain' is not one of 'debian', 'ubuntu', 'centos'",
    ),
    (IMAGE, "distro: debian\n", "", "distro: is missing"),
    # repositories of the other family
    (
        RPM,
        BASE_REPOSITORY,
        "",
        "repositories[0]: give one of baseurl, mirrorlist and metalink, not none",
    ),
    (
        RPM,
        BASE_REPOSITORY,
        f"{BASE_REPOSITORY}    metalink: https://mirror.example/m\n",
        "repositories[0]: give one of baseurl, mirrorlist and metalink, not baseurl and metalink",
    ),
    (
        RPM,
        "    gpgkey: https://vault.centos.org/RPM-GPG-KEY-centos4\n",
        "",
        "repositories[0]: gpgkey: is missing; packages are checked against it unless you write `gpgcheck: false`",
    ),
    (
        RPM,
        "    gpgkey: https://vault.centos.org/RPM-GPG-KEY-centos4\n",
        "    gpgcheck: false\n    repo_gpgcheck: true\n",
        "repositories[0]: gpgkey: is missing",
    ),
    (
        RPM,
        "protect: true",
        "protect: true\n    priority: 5",
        "repositories[0]: protect, priority: the first is a priority before all others; write one of them",
    ),
    (
        RPM,
        "protect: true",
        "priority: 100",
        "repositories[0].priority: 100: Input should be less than or",
    ),
    (RPM, "id: update", "id: base", "repositories: an id stands twice: base"),
    (RPM, "id: update", "id: up date", "repositories[1].id: 'up date': String should match"),
    (RPM, "baseurl: https", "baseurl: gopher", "repositories[0].baseurl[0]: 'gopher://"),
    (RPM, "name: CentOS", "nmae: CentOS", "repositories[0].nmae: is not a key; did you mean name?"),
    (
        RPM,
        "groups: [Base]",
        "groups: []",
        "groups, packages: both are empty; write what the image is to hold",
    ),
    (RPM, "groups: [Base]\n", "", "groups, packages: both are empty"),
    (RPM, "exclude: [", "exlude: [", "yum.exlude: is not a key; did you mean exclude?"),
    (
        RPM,
        "debuglevel: 2",
        "debuglevel: 11",
        "yum.debuglevel: 11: Input should be less than or equal to 10",
    ),
    (RPM, "tls: disabled", "tls: off", "tls: False is not one of 'enabled', 'disabled'"),
    # releases that no image is made of
    (
        RPM,
        '"4.7"',
        '"7.9"',
        "release: '7.9' is a release of centos that no image is made of; there are 3 to 6",
    ),
    (RPM, '"4.7"', '"2.1"', "release: '2.1' is a release of centos that no image is made of"),
    (RPM, '"4.7"', "stream", "release: 'stream' is no release of centos; write a number: 3 to 6"),
    (
        RPM,
        "distro: centos",
        "distro: centos-stream",
        "release: '4.7' is a release of centos-stream that no image",
    ),
    (RPM, "distro: centos", "distro: fedora", "there are 40 and later"),
    (RPM, "distro: centos", "distro: amazon", "there are 2023 and later"),
    (
        RPM,
        "architecture: i386",
        "architecture: arm64",
        "ami.virtualization: arm64 never was paravirtual; write",
    ),
]


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    CASES,
    ids=[f"{number} {case[3][:40]}" for number, case in enumerate(CASES)],
)
def test_a_wrong_key_is_named_with_its_file_and_line(config, file, old, new, said):
    """Each with the file it stands in, and what to write."""
    path = config / file
    assert old in path.read_text(), "the case does not fit the configuration as shipped"
    path.write_text(path.read_text().replace(old, new, 1))
    lines = wrong(config)
    assert any(said in line for line in lines), lines
    assert any(line.startswith(file) for line in lines), lines


def test_everything_wrong_is_told_at_once(config):
    """Two mistakes in one file and one in another are three lines, each with its own line number."""
    image = config / IMAGE
    image.write_text(
        image.read_text().replace("size: 2 GiB", "size: 2 GB").replace("key: ed25519", "key: dsa")
    )
    site = config / "site.yaml"
    site.write_text(site.read_text() + "colour: red\n")
    lines = wrong(config)
    assert len(lines) == 3
    numbered = [
        number for number, line in enumerate(image.read_text().splitlines(), 1) if "2 GB" in line
    ]
    assert any(line.startswith(f"{IMAGE}:{numbered[0]}: disk.size") for line in lines)


def test_an_image_without_a_mirror_on_a_machine_without_one_is_told_what_to_write(config, monkeypatch):
    """A Fedora host has no apt sources to take the mirror from."""
    image = config / IMAGE
    image.write_text(image.read_text().rpartition("repositories:")[0])
    monkeypatch.setattr("tasks.spec.load.host_repositories", lambda distribution, release: ())
    assert any(
        "this machine has no apt sources for bookworm; write where" in line for line in wrong(config)
    )


def test_an_image_that_nobody_asked_for_may_lack_a_mirror(config, monkeypatch):
    """It is a matter of the day it is built on."""
    image = config / IMAGE
    image.write_text(image.read_text().rpartition("repositories:")[0])
    site = config / "site.yaml"
    site.write_text(site.read_text().replace("[debian-12]", "[centos-4.7-i386]"))
    monkeypatch.setattr("tasks.spec.load.host_repositories", lambda distribution, release: ())
    project = load(config, config.parent / "templates")
    assert [each.repositories for each in project.images if each.name == "debian-12"] == [()]


def extending(config: Path, text: str, name: str = "mine") -> str:
    """A file that extends another; its path, as it is told."""
    (config / f"images/{name}.yaml").write_text(text)
    return f"images/{name}.yaml"


def test_an_image_may_extend_another(config):
    """What it says itself goes before what it extends, key by key; its own name is its file's."""
    extending(config, "extends: debian-12\nhostname: mine\nfiles: {}\n")
    project = load(config, config.parent / "templates")
    base, mine = (
        next(each for each in project.images if each.name == name) for name in ("debian-12", "mine")
    )
    assert (mine.hostname, dict(mine.files)) == ("mine", {})
    differing = {"name", "hostname", "files"}
    assert isinstance(mine, AptImage)
    assert mine.model_dump(exclude=differing) == base.model_dump(exclude=differing)


def test_an_image_may_extend_one_of_another_distribution(config):
    """With repositories of its own: the packages are what they have in common."""
    repository = "{id: base, metalink: 'https://m.example/9', gpgkey: 'https://m.example/key'}"
    extending(
        config, f"extends: centos-4.7-i386\ndistro: rocky\nrelease: '9'\nrepositories: [{repository}]\n"
    )
    project = load(config, config.parent / "templates")
    mine = next(each for each in project.images if each.name == "mine")
    assert isinstance(mine, RpmImage)
    assert (mine.distro, mine.groups) == ("rocky", ("Base",))
    assert mine.repositories[0].gpgkey == ("https://m.example/key",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: debian-21\n", "1: extends: 'debian-21': there is no config/images/debian-21.yaml"),
        ("hostname: a\nextends: debian-21\n", "2: extends: 'debian-21': there is no config"),
        ("extends: [debian-12]\n", "1: extends: ['debian-12'] is not the name of an image"),
        ("extends: 12\n", "1: extends: 12 is not the name of an image"),
        ("extends: mine\n", "1: extends: mine extends another itself"),
        (
            "extends: between\n",
            "1: extends: between extends another itself; extend debian-12, and say here what differs",
        ),
        ("extends: debian-12\ndisk: {size: 2 GB}\n", "2: disk.size: '2 GB' is not a size"),
        ("extends: debian-12\ncolour: red\n", "2: colour: is not a key"),
        ("extends: centos-4.7-i386\narchitecture: arm64\n", "1: ami.virtualization: arm64 never was"),
        (
            "extends: centos-4.7-i386\nrelease: '7'\n",
            "2: release: '7' is a release of centos that no image",
        ),
    ],
)
def test_what_an_image_extends_is_another_that_stands_for_itself(config, text, said):
    """Nobody has to look into a third file; what is wrong is told of the file that says it."""
    extending(config, "extends: debian-12\n", "between")
    path = extending(config, text)
    assert [line for line in wrong(config) if line.startswith(f"{path}:{said}")], wrong(config)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("distro: debian", "distro: [", "is not YAML"),
        ("size: 2 GiB", "size: 2 GB", "disk.size: '2 GB' is not a size"),
    ],
)
def test_what_is_wrong_with_a_base_is_told_once(config, old, new, said):
    """Of its own file, however many images extend it; what they say themselves is judged all the same."""
    base = config / IMAGE
    base.write_text(base.read_text().replace(old, new))
    extending(config, "extends: debian-12\n", "another")
    (line,) = wrong(config)
    assert line.startswith(f"{IMAGE}:")
    assert said in line
    path = extending(config, "extends: debian-12\nhostname: -x-\n")
    told = wrong(config)
    assert [each for each in told if path in each] == told[1:]
    assert len(told) == (1 if said == "is not YAML" else 2), "an unreadable base hides what extends it"


def listed(config: Path, *names: str, cloud: str = "local") -> None:
    """What the site makes every day, and where."""
    site = config / "site.yaml"
    text = site.read_text().replace("[debian-12]", f"[{', '.join(names)}]")
    site.write_text(text.replace("cloud: local ", f"cloud: {cloud} "))


def test_an_image_that_cannot_become_an_ami_is_not_one_of_the_sites(config):
    """It may lie there, to be built and booted."""
    extending(
        config,
        "extends: debian-12\narchitecture: arm64\nami: {backing: s3, virtualization: hvm}\n",
        "arm",
    )
    load(config, config.parent / "templates")
    listed(config, "debian-12", "arm")
    (line,) = wrong(config)
    assert line.startswith(
        "site.yaml: images: arm: S3-backed AMIs start on i386 and x86_64 alone, not on arm64; write `backing: ebs`"
    )
    assert line.endswith("`doit boot:arm` builds and proves it")


def test_an_arm64_image_is_ebs_backed_as_any_other(config):
    extending(config, "extends: debian-12\narchitecture: arm64\n", "arm")
    listed(config, "debian-12", "arm")
    project = load(config, config.parent / "templates")
    assert [each.boot_mode for each in project.images if each.name == "arm"] == ["uefi"]


def test_a_file_that_would_not_be_read_is_told_of(config):
    """`.yml` is nearly right, and silence would be wrong."""
    (config / "images/extra.yml").write_text("distro: debian\n")
    assert wrong(config) == ["images/extra.yml: is not read; call it extra.yaml"]


def test_what_is_right_is_loaded_whole(config):
    """The shipped configuration, with every default filled in."""
    project = load(config, config.parent / "templates")
    assert [image.name for image in project.images] == ["centos-4.7-i386", "debian-12"]
    assert project.images[1].disk.size == 2 << 30
    assert project.cloud.kind == "local"
    assert project.epoch == 1767225600


def test_a_secret_that_was_pasted_in_is_not_repeated(config):
    """Neither to the terminal nor to the log of whoever runs us."""
    cloud = config / "clouds/local.yaml"
    cloud.write_text("kind: aws\nendpoint_url: https://me:hunter2@s3.example\naccount: hunter3\n")
    assert "hunter" not in " ".join(wrong(config))


def test_a_bundle_for_aws_needs_its_owner_and_its_reader(config):
    """Before anything is built: both stand in the manifest."""
    listed(config, "debian-12", "centos-4.7-i386", cloud="aws")
    assert wrong(config) == [
        "clouds/aws.yaml: account: is missing; S3-backed images need it: centos-4.7-i386",
        "clouds/aws.yaml: ec2_certificate: is missing; S3-backed images need it: centos-4.7-i386",
    ]


def test_what_is_ebs_backed_needs_neither_and_the_other_has_no_owner_then(config):
    """Who makes today's images has no certificate of EC2's; an image of 2008 may lie beside them."""
    listed(config, "debian-12", cloud="aws")
    project = load(config, config.parent / "templates")
    assert [image.ami.backing for image in project.images] == ["s3", "ebs"]
    assert project.account is None


@pytest.mark.parametrize(
    ("told", "account"),
    [
        ("", None),
        ("account: '210987654321'\n", None),
        ("ec2_certificate: site.yaml\n", None),
        ("account: '210987654321'\nec2_certificate: site.yaml\n", "210987654321"),
    ],
)
def test_a_bundle_has_an_owner_where_all_is_told_that_it_needs(config, monkeypatch, told, account):
    """Never the local cloud's account, nor its certificate, for AWS."""
    listed(config, "debian-12", cloud="aws")
    (config / "clouds/aws.yaml").write_text(f"kind: aws\n{told}")
    monkeypatch.chdir(config)
    assert load(config, config.parent / "templates").account == account


def test_the_settings_of_ebs_are_shown_as_they_may_be_written(config):
    """The comments of the shipped file are a configuration."""
    path = config / "clouds/aws.yaml"
    shown = re.search(r"^# (ebs:.*?)(?=^# [a-z]|\Z)", path.read_text(), re.MULTILINE | re.DOTALL)
    assert shown
    path.write_text("kind: aws\n" + re.sub("(?m)^# ", "", shown[0]))
    listed(config, "debian-12", cloud="aws")
    ebs = load(config, config.parent / "templates").cloud.ebs
    assert set(parse(re.sub("(?m)^# ", "", shown[0]))[0]["ebs"]) == set(type(ebs).model_fields)


def test_the_readmes_example_is_an_image_and_knows_every_key():
    """Samples rot unless something reads them."""
    samples = [
        each.partition("```")[0] for each in (ROOT / "README.md").read_text().split("```yaml\n")[1:]
    ]
    value = parse(samples[0])[0]
    image = AptImage.model_validate({**value, "name": "sample"})
    assert image.files["/etc/app.conf"].mode == 0o640
    assert image.devices == ("console", "null", "zero")
    assert set(value) | {"name"} == set(AptImage.model_fields)
    (other,) = (parse(sample)[0] for sample in samples if "backing: s3" in sample)
    assert (
        AptImage.model_validate({**value, **other, "name": "sample"}).ami.virtualization == "paravirtual"
    )
    assert {*value["ami"], *other["ami"]} == set(Ami.model_fields)
    assert set(value["bundle"]) == set(Bundle.model_fields)


@pytest.mark.parametrize("name", ["cloud", "keys", "ec2"])
def test_an_image_is_not_called_as_a_folder_of_ours(config, name):
    """`doit clean` would take the keys with it."""
    shutil.copy(config / IMAGE, config / f"images/{name}.yaml")
    assert (
        f"images/{name}.yaml:1: name: {name} is a folder of ours; call the file something else"
        in wrong(config)
    )
