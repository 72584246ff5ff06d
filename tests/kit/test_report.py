"""Progress: a live line on a terminal, a line every ten seconds elsewhere."""

import io
import os
import pty
import time

import pytest

from tasks.kit import report
from tasks.kit.report import amount, reporting


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (150 << 20, "150 MiB"), (5 << 40, "5120 GiB")]
)
def test_amounts_are_read_at_a_glance(number, text):
    """Three digits and a unit."""
    assert amount(number) == text


def test_a_log_gets_a_line_now_and_then(monkeypatch):
    """With what it is at, how far, how fast; no control characters."""
    monkeypatch.setattr(report, "PLAIN", 0.05)
    out = io.StringIO()
    with reporting("bundle:debian-12", out) as pen:
        pen.said("packing")
        pen.moved(0, 100 << 20)
        pen.moved(50 << 20, 100 << 20)
        time.sleep(0.2)
    lines = out.getvalue().splitlines()
    assert lines
    assert lines[0].startswith("   bundle:debian-12 [0 s] packing 50% of 100 MiB, ")
    assert "\x1b" not in out.getvalue()


def test_a_short_stage_says_nothing_in_a_log():
    """Its one line when it ends is enough."""
    out = io.StringIO()
    with reporting("keys:debian-12", out) as pen:
        pen.said("making keys")
    assert out.getvalue() == ""


def test_a_terminal_gets_a_bar_that_is_wiped_at_the_end():
    """Drawn in place, within the width."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as out:
        with reporting("upload:debian-12", out) as pen:
            pen.moved(3, 4, "parts")
            time.sleep(0.5)
        drawn = os.read(ours, 4096).decode()
    os.close(ours)
    assert "75% of 4 parts" in drawn
    assert "[##################......]" in drawn
    assert drawn.endswith("\r\x1b[K")
