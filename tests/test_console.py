"""The task `console`: what an instance has written."""

import pytest

from tasks import console
from tasks.cloud import instances
from tasks.kit.fault import CloudFault
from tests.cloud.test_instances import run
from tests.clouds import LOCAL, elsewhere


@pytest.fixture
def order(account, moto):
    return console.Order(image="debian-12", cloud=elsewhere(moto))


def test_the_console_is_shown(account, order, tmp_path, capsys):
    """moto's is a machine of 2006, decoded."""
    run(account.ec2())
    console.body(order, home=tmp_path, instance="")
    assert "Linux version 2.6.16-xenU" in capsys.readouterr().out


def test_what_firmware_does_to_a_screen_is_not_done_to_the_readers(
    account, order, tmp_path, capsys, monkeypatch
):
    """A BIOS resets the terminal, UEFI clears it: words and lines are shown, and nothing else."""
    run(account.ec2())
    said = "\x1bcSeaBIOS\r\n\x1b[2J\x1b[01;01H\x1b[=3h\x1b[0m\x1b[30mWelcome to GRUB!\n"
    monkeypatch.setattr(instances, "console", lambda *_, **__: said)
    console.body(order, home=tmp_path, instance="")
    assert capsys.readouterr().out == "SeaBIOS\r\nWelcome to GRUB!\n"


def test_of_several_one_is_chosen(account, order, tmp_path, capsys, monkeypatch):
    one, two = run(account.ec2(), count=2)
    asked: list[str] = []

    def silent(_, name, **__):
        asked.append(name)
        return ""

    monkeypatch.setattr(instances, "console", silent)
    with pytest.raises(CloudFault, match="2 instances of debian-12 run"):
        console.body(order, home=tmp_path, instance="")
    console.body(order, home=tmp_path, instance=two)
    assert asked == [two]
    assert capsys.readouterr().out == f"{two}: EC2 has nothing of its console yet\n"
    assert one != two


def test_nothing_that_runs_is_told(tmp_path):
    """And no local cloud is made to find that out."""
    with pytest.raises(CloudFault, match=r"(?s)no instance of debian-12 runs.*doit launch:debian-12"):
        console.body(console.Order(image="debian-12", cloud=LOCAL), home=tmp_path / "home", instance="")
    assert not (tmp_path / "home").exists()
