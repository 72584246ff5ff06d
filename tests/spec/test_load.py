"""Configuration that is wrong is refused before anything is touched, all of it at once, in the user's own words."""

import shutil
from pathlib import Path

import pytest

from tasks.kit.fault import ConfigFault
from tasks.spec.load import load, parse
from tasks.spec.model import Ami, Bundle, Image
from tests.projects import ROOT


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The configuration as shipped, to be spoiled; repositories are named, so that no machine's sources matter."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    shutil.copytree(ROOT / "templates", tmp_path / "templates")
    monkeypatch.chdir(tmp_path)
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
CASES = [
    # file, what is replaced, by what, what is said
    (
        IMAGE,
        "size: 2 GiB",
        "size: 2 GB",
        "disk.size: '2 GB' is not a size; write a whole number and one of B, KiB",
    ),
    (IMAGE, "size: 2 GiB", "size: 2048", "disk.size: 2048 is not a size"),
    (IMAGE, "size: 2 GiB", "size: 1 MiB", "disk: size must be between 32 MiB and 16 TiB"),
    (IMAGE, "size: 2 GiB", "size: 11 GiB", "disk.size: an S3-backed image is at most 10 GiB"),
    (IMAGE, "layout: none", "layout: hybird", "disk.layout: 'hybird' is not one of 'none'"),
    (
        IMAGE,
        "filesystem: ext4",
        "filesystem: btrfs",
        "disk.filesystem: 'btrfs' is not one of 'ext3', 'ext4'",
    ),
    (IMAGE, "disk: {size: 2 GiB, filesystem: ext4, layout: none}", "", "disk: is missing"),
    (IMAGE, "packages:", "pakages:", "pakages: is not a key; did you mean packages?"),
    (
        IMAGE,
        "filesystem: ext4",
        "filesytem: ext4",
        "disk.filesytem: is not a key; did you mean filesystem?",
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
    (IMAGE, "virtualization: paravirtual", "ena: true", "ena: paravirtual instances have none"),
    (
        IMAGE,
        "virtualization: paravirtual",
        "kernel_id: pv-grub",
        "ami.kernel_id: 'pv-grub': String should match",
    ),
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
        IMAGE,
        "virtualization: paravirtual",
        "virtualization: hvm\n  kernel_id: aki-1",
        "hvm instances boot what is on",
    ),
    (IMAGE, "virtualization: paravirtual", "tags: {'doit-ami:x': y}", "these are not yours to set"),
    (IMAGE, "virtualization: paravirtual", "tags: {Name: y}", "tags: Name: these are not yours"),
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
]


@pytest.mark.parametrize(("file", "old", "new", "said"), CASES, ids=[case[3][:40] for case in CASES])
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
    monkeypatch.setattr("tasks.spec.load.host_repositories", lambda release: ())
    assert any(
        "this machine has no apt sources for bookworm; write where" in line for line in wrong(config)
    )


def test_a_file_that_would_not_be_read_is_told_of(config):
    """`.yml` is nearly right, and silence would be wrong."""
    (config / "images/extra.yml").write_text("distro: debian\n")
    assert wrong(config) == ["images/extra.yml: is not read; call it extra.yaml"]


def test_what_is_right_is_loaded_whole(config):
    """The shipped configuration, with every default filled in."""
    project = load(config, config.parent / "templates")
    assert [image.name for image in project.images] == ["debian-12"]
    assert project.images[0].disk.size == 2 << 30
    assert project.cloud.kind == "local"
    assert project.epoch == 1767225600


def test_a_secret_that_was_pasted_in_is_not_repeated(config):
    """Neither to the terminal nor to the log of whoever runs us."""
    cloud = config / "clouds/local.yaml"
    cloud.write_text("kind: aws\nendpoint_url: https://me:hunter2@s3.example\naccount: hunter3\n")
    assert "hunter" not in " ".join(wrong(config))


def test_a_bundle_for_aws_needs_its_owner_and_its_reader(config):
    """Before anything is built: both stand in the manifest."""
    site = config / "site.yaml"
    site.write_text(site.read_text().replace("cloud: local ", "cloud: aws "))
    assert wrong(config) == [
        "clouds/aws.yaml: account: is missing; S3-backed images need it",
        "clouds/aws.yaml: ec2_certificate: is missing; S3-backed images need it",
    ]


def test_the_readmes_example_is_an_image_and_knows_every_key():
    """Samples rot unless something reads them."""
    sample = (ROOT / "README.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    value = parse(sample)[0]
    image = Image.model_validate({**value, "name": "sample"})
    assert image.files["/etc/app.conf"].mode == 0o640
    assert image.devices == ("console", "null", "zero")
    assert set(value) | {"name"} == set(Image.model_fields)
    assert set(value["ami"]) | {"backing"} == set(Ami.model_fields)
    assert set(value["bundle"]) == set(Bundle.model_fields)


@pytest.mark.parametrize("name", ["cloud", "keys", "ec2"])
def test_an_image_is_not_called_as_a_folder_of_ours(config, name):
    """`doit clean` would take the keys with it."""
    shutil.copy(config / IMAGE, config / f"images/{name}.yaml")
    assert (
        f"images/{name}.yaml:1: name: {name} is a folder of ours; call the file something else"
        in wrong(config)
    )
