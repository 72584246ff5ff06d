"""To ask before destroying: yes is yes, and everything else is no."""

import io

import pytest

from tasks.kit.confirm import confirm
from tasks.kit.fault import Fault, HostFault


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer", ["yes\n", "YES\n", " yes \n"])
def test_yes_is_yes(answer, monkeypatch):
    """However it is written."""
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    said = io.StringIO()
    confirm("2 images go.", yes=False, again="", into=said)
    assert said.getvalue() == "2 images go. Type yes: "


@pytest.mark.parametrize("answer", ["y\n", "\n", "", "no\n", "yes please\n", "true\n"])
def test_every_other_answer_is_no(answer, monkeypatch):
    """The end of the input, too."""
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    with pytest.raises(Fault, match="nothing was changed: the answer was not yes"):
        confirm("go?", yes=False, again="", into=io.StringIO())


@pytest.mark.parametrize("stdin", [None, io.StringIO("yes\n")])
def test_without_a_terminal_it_is_no_and_the_command_is_told(stdin, monkeypatch):
    """A pipe full of yes is nobody who read the verdict; a daemon has no input at all."""
    monkeypatch.setattr("sys.stdin", stdin)
    said = io.StringIO()
    with pytest.raises(HostFault, match=r"(?s)nothing was changed.*then: doit terminate:x --yes"):
        confirm("go?", yes=False, again="doit terminate:x --yes", into=said)
    assert said.getvalue() == ""


def test_told_yes_it_asks_nothing(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    said = io.StringIO()
    confirm("go?", yes=True, again="", into=said)
    assert said.getvalue() == ""
