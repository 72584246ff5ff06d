"""A copy of the project in a folder of its own, and `doit` in it as a user types it: a process, as any user, that can be killed."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
TRACKED = ("dodo.py", "tasks", "templates", "config")
USER = "doit-ami-tests"


@dataclass
class Project:
    path: Path
    user: str | None = None
    interpreter: tuple[str, ...] = (sys.executable,)
    said: str = ""  # by the run that built it
    order: Any = None  # of the stage that a test is about

    @property
    def build(self) -> Path:
        return self.path / "build"

    def command(self, *args: str) -> list[str]:
        be = (
            ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups", "--"]
            if self.user
            else []
        )
        return [*be, *self.interpreter, "-m", "doit", *args]

    def start(self, *args: str) -> subprocess.Popen[str]:
        """The process itself, in a session of its own: what is sent to it reaches nobody else."""
        home = pwd.getpwnam(self.user).pw_dir if self.user else os.environ.get("HOME", "/")
        env = {"PATH": os.environ["PATH"], "HOME": home, "LC_ALL": "C.UTF-8"}
        return subprocess.Popen(
            self.command(*args),
            cwd=self.path,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # As from a terminal: whoever starts the tests in the background has it ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )

    def doit(self, *args: str, status: int = 0, timeout: float = 400) -> str:
        """What it prints. Fails the test when it does not end with `status`."""
        process = self.start(*args)
        try:
            said, _ = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        assert process.returncode == status, said
        return said

    def configure(self, file: str, **changes: object) -> None:
        """Set keys of a configuration file; None takes one away."""
        path = self.path / "config" / file
        value = yaml.safe_load(path.read_text())
        for key, new in changes.items():
            value.pop(key, None)
            if new is not None:
                value[key] = new
        path.write_text(yaml.safe_dump(value))

    def own(self) -> None:
        if self.user:
            shutil.chown(self.path, self.user, self.user)
            for each in self.path.rglob("*"):
                shutil.chown(each, self.user, self.user)


def stages(said: str, what: str) -> list[str]:
    """The stages that a run reports as RUN, DONE, SKIPPED or FAILED."""
    return re.findall(rf"^{what} +(\w+):", said, re.MULTILINE)


def copy(path: Path, user: str | None = None) -> Project:
    """A fresh copy of the product."""
    path.mkdir(parents=True, exist_ok=True)
    for name in TRACKED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, path / name)
    project = Project(path, user)
    project.own()
    return project


def clone(project: Project, path: Path) -> Project:
    """A project as it stands, with what it has built."""
    subprocess.run(
        ["cp", "-a", "--sparse=always", "--reflink=auto", f"{project.path}/.", path], check=True
    )
    return Project(path, project.user, project.interpreter)


def ordinary_user() -> str:
    """A user with sub-ids, made when it is not there."""
    try:
        pwd.getpwnam(USER)
    except KeyError:
        subprocess.run(["useradd", "--create-home", "--user-group", USER], check=True)
    if not re.search(rf"^{USER}:", Path("/etc/subuid").read_text(), re.MULTILINE):
        spare = "--add-subuids=400000-465535", "--add-subgids=400000-465535"
        subprocess.run(["usermod", *spare, USER], check=True)
    return USER


def for_user(user: str, home: Path) -> tuple[str, ...]:
    """A Python that `user` may run, in an environment with the packages of ours.

    Root's own Python may lie where nobody else can go; Debian's, of the same version, then takes its place.
    """
    venv, packages = home / "venv", home / "packages"
    shutil.copytree(sysconfig.get_path("purelib"), packages, symlinks=True)
    for python in (sys._base_executable, "/usr/bin/python3"):  # type: ignore[attr-defined]
        # By a path of its own: setpriv itself still goes where only root may.
        probe = (
            f"test -x {python} && {python} -c 'import ssl, sqlite3, sys; print(sys.version_info[:2])'"
        )
        be = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "sh", "-c"]
        answer = subprocess.run([*be, probe], check=False, capture_output=True, text=True)
        if answer.stdout.strip() == str(tuple(sys.version_info[:2])):
            subprocess.run([python, "-m", "venv", "--without-pip", venv], check=True)
            (site,) = venv.glob("lib/python*/site-packages")
            (site / "ours.pth").write_text(f"{packages}\n")
            return (str(venv / "bin/python"),)
    raise AssertionError(f"{user} can run no Python {sys.version_info[:2]}")
