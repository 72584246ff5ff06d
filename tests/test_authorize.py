"""The task `authorize`: what was written is opened, and nothing else."""

from tasks import authorize
from tasks.cloud import groups
from tasks.spec.cloud import Rule
from tests.clouds import LOCAL, elsewhere

RULES = (
    Rule.model_validate({"ports": 22, "cidr": "127.0.0.1/32"}),
    Rule.model_validate({"ports": "8000-8010", "cidr": "0.0.0.0/0"}),
)


def test_every_rule_is_opened_once(account, moto, tmp_path, capsys):
    """And told, with what it means."""
    order = authorize.Order(cloud=elsewhere(moto), rules=RULES)
    authorize.body(order, home=tmp_path)
    authorize.body(order, home=tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        "opened: tcp 22 of default to 127.0.0.1/32",
        "opened: tcp 8000-8010 of default to 0.0.0.0/0, that is, to the whole Internet",
        "already open: tcp 22 of default to 127.0.0.1/32",
        "already open: tcp 8000-8010 of default to 0.0.0.0/0, that is, to the whole Internet",
    ]
    group = groups.found(account.ec2(), ["default"])["default"]
    assert groups.opens(group, 8005)


def test_without_a_rule_it_says_what_to_write(tmp_path, capsys):
    """And asks no cloud for anything."""
    authorize.body(authorize.Order.of(LOCAL), home=tmp_path)
    said = capsys.readouterr().out
    assert "nothing is configured to be opened in local" in said
    assert "config/clouds/local.yaml" in said
    assert authorize.EXAMPLE in said
    assert list(tmp_path.iterdir()) == []


def test_the_example_is_one():
    """What it tells one to write can be read."""
    import yaml

    written = yaml.safe_load(authorize.EXAMPLE)["authorize"]
    assert [Rule.model_validate(each) for each in written]
