"""What editors are told of a configuration is what the models take: no more, no less."""

import json

import pytest
import yaml

from tasks import schema
from tasks.spec.load import parse
from tests.projects import ROOT
from tests.schemas import troubles

KINDS = {"site": "site.yaml", "image": "images/*.yaml", "cloud": "clouds/*.yaml"}
SHIPPED = [(kind, path) for kind, glob in KINDS.items() for path in sorted((ROOT / "config").glob(glob))]


def described(kind: str):
    return json.loads((ROOT / f"config/schema/{kind}.json").read_text())


def shipped(name: str):
    return yaml.safe_load((ROOT / f"config/images/{name}.yaml").read_text())


def test_every_kind_of_file_has_a_schema():
    """The files that are shipped are of those kinds."""
    assert set(KINDS) == set(schema.MODELS)
    assert {kind for kind, _ in SHIPPED} == set(KINDS)


@pytest.mark.parametrize(("kind", "path"), SHIPPED, ids=[path.stem for _, path in SHIPPED])
def test_a_shipped_file_is_valid_and_names_its_schema(kind, path):
    """An editor that reads the first line underlines nothing."""
    text = path.read_text()
    assert troubles(yaml.safe_load(text), described(kind)) == []
    line = text.partition("\n")[0]
    named = line.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == ROOT / f"config/schema/{kind}.json"


def test_the_readmes_example_is_valid():
    """It has every key of its family."""
    sample = (ROOT / "README.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    assert troubles(parse(sample)[0], described("image")) == []


def test_an_image_that_extends_another_needs_no_other_key():
    """All the rest may come from there."""
    assert troubles({"extends": "debian-12"}, described("image")) == []
    assert troubles({"hostname": "mine"}, described("image"))


@pytest.mark.parametrize("key", ["distro", "release", "architecture", "packages", "disk"])
def test_any_other_needs_its_keys(key):
    """Of Debian, say."""
    value = shipped("debian-13")
    del value[key]
    assert troubles(value, described("image"))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("debian-13", {"groups": ["Base"]}),
        ("debian-13", {"distro": "rocky"}),
        ("debian-13", {"name": "another"}),
        ("debian-13", {"disk": {"size": 2048}}),
        ("debian-13", {"disk": {"size": "2 GB"}}),
        ("debian-13", {"colour": "red"}),
        ("rocky-9", {"repositories": []}),
        ("rocky-9", {"repositories": [{"uri": "https://mirror.example", "suites": ["9"]}]}),
        ("rocky-9", {"release": 9}),
        ("rocky-9", {"architecture": "sparc"}),
        ("rocky-9", {"yum": {"debuglevel": 11}}),
    ],
)
def test_what_the_model_refuses_an_editor_underlines(name, change):
    """As far as one file tells."""
    assert troubles({**shipped(name), **change}, described("image"))


def test_one_of_something_needs_no_brackets():
    """Neither in the file nor in the schema; and YAML's bare null is a device."""
    value = shipped("rocky-9")
    for key in ("baseurl", "gpgkey"):
        for written in ("https://mirror.example/9", ["https://mirror.example/9", "https://b.example/9"]):
            value["repositories"][0][key] = written
            assert troubles(value, described("image")) == []
    assert troubles({**value, "devices": [None, "null", "console"]}, described("image")) == []
