"""The walls: floors, style and types, kept by tools rather than by memory."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.projects import ROOT

BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ("lint-imports", "--no-cache"),
        ("ruff", "check", "--no-cache", "."),
        ("ruff", "format", "--no-cache", "--check", "."),
        ("mypy",),
    ],
    ids=["floors", "lint", "format", "types"],
)
def test_the_house_stands(command):
    """A tool that is missing is a failure: the lock file brings them all."""
    done = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lock_pins_with_hashes_and_names_no_host():
    """So that it installs from whatever index a site uses, and nothing but what was pinned."""
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    pins = [line for line in text.splitlines() if line and line[0].isalpha()]
    assert pins
    assert all("==" in line and line.endswith("\\") for line in pins)
