"""Every line of dnf's is heard: progress, what groups lack, scriptlets that fail. What is quoted was printed by real ones."""

import pytest

from tasks.distro.dnf.talk import Failed, Listener
from tasks.kit.fault import ToolFault

# dnf 4.14.0 with rpm 4.18.0, without its table of packages.
BY_4 = """\
base                                            570 kB/s | 3.1 kB     00:00
No match for group package "ghostly"
Dependencies resolved.
Downloading Packages:
(1/3): lib-1-1.noarch.rpm                       2.3 MB/s | 5.9 kB     00:00
(2/3): app-1-1.noarch.rpm                       1.9 MB/s | 5.9 kB     00:00
(3/3): shell-1-1.x86_64.rpm                     115 MB/s | 1.0 MB     00:00
--------------------------------------------------------------------------------
Total                                            95 MB/s | 1.1 MB     00:00
Importing GPG key 0xB058C115:
 Userid     : "doit-ami tests <tests@example.invalid>"
Running transaction check
Transaction check succeeded.
Running transaction
  Running scriptlet: badlua-1-1.noarch                                     1/1
error: lua script failed: [string "%pretrans(badlua-1-1.noarch)"]:1: lua is wrong

Error in PRETRANS scriptlet in rpm package badlua
  Preparing        :                                                        1/1
  Installing       : shell-1-1.x86_64                                       1/3
  Running scriptlet: bad-pre-1-1.noarch                                     2/3
I fail in pre
on stderr
error: %prein(bad-pre-1-1.noarch) scriptlet failed, exit status 3

Error in PREIN scriptlet in rpm package bad-pre
  Installing       : killed-1-1.noarch                                      3/3
  Running scriptlet: killed-1-1.noarch                                      3/3
warning: %post(killed-1-1.noarch) scriptlet failed, signal 9

Error in POSTIN scriptlet in rpm package killed
  Running scriptlet: fine-1-1.noarch                                        3/3
I only warn

  Verifying        : shell-1-1.x86_64                                       1/3

Failed:
  bad-pre-1-1.noarch

Error: Transaction failed"""
# dnf5 as its users quote it: its progress (a report on tcpdump in Fedora 41), its complaint (netcat in Fedora 43), and a
# script that may fail (a test of a program that reads such output).
BY_5 = """\
Updating and loading repositories:
Repositories loaded.
No match for group package: lsvpd
[3/4] libibverbs-0:51.0-5.fc41.x86_64   100% | 483.0 KiB/s | 435.7 KiB |  00m01s
[4/4] libnl3-0:3.11.0-1.fc41.x86_64     100% |   1.5 MiB/s | 352.9 KiB |  00m00s
--------------------------------------------------------------------------------
[4/4] Total                             100% | 716.6 KiB/s |   1.4 MiB |  00m02s
Running transaction
[1/6] Verify package files              100% |   1.3 KiB/s |   4.0   B |  00m00s
[2/6] Prepare transaction               100% | 137.0   B/s |   4.0   B |  00m00s
>>> Running pre-install scriptlet: tcpdump-14:4.99.5-1.fc41.x86_64
>>> Finished pre-install scriptlet: tcpdump-14:4.99.5-1.fc41.x86_64
>>> Scriptlet output:
>>> useradd: Warning: missing or non-executable shell '/usr/sbin/nologin'
>>>
[ 62/146] Installing qemu-user-static-l 100% | 130.0 MiB/s |   4.9 MiB |  00m00s
>>> Running %preun scriptlet: netcat-0:1.229-3.fc43.x86_64
>>> Error in %preun scriptlet: netcat-0:1.229-3.fc43.x86_64
>>> Scriptlet output:
>>> failed to create admindir: No such file or directory
>>> [RPM] %preun(netcat-1.229-3.fc43.x86_64) scriptlet failed, exit status 2
>>> [RPM] netcat-1.229-3.fc43.x86_64: erase failed
[3/3] Installing flotestro-lab-broken-0 100% |   9.0 KiB/s | 768.0   B |  00m00s
>>> Running %post scriptlet: flotestro-lab-broken-0:1.0.0-1.noarch
>>> Non-critical error in %post scriptlet: flotestro-lab-broken-0:1.0.0-1.noarch
>>> Scriptlet output:
>>> flotestro-lab-broken: the maintainer script of this package fails by design;
>>> [RPM] %post(flotestro-lab-broken-1.0.0-1.noarch) scriptlet failed, exit status 1
Complete!"""


class Recorder:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.moves: list[tuple[int, int, str]] = []

    def said(self, text: str) -> None: ...

    def moved(self, done: int, total: int, unit: str = "B") -> None:
        self.moves.append((done, total, unit))

    def noted(self, text: str) -> None:
        self.notes.append(text)


def heard(text: str) -> tuple[Listener, Recorder]:
    report = Recorder()
    listener = Listener(report)
    for line in text.splitlines():
        listener(line)
    return listener, report


@pytest.mark.parametrize(
    ("text", "member", "moves"),
    [
        (
            BY_4,
            "ghostly",
            [(1, 3, "packages"), (2, 3, "packages"), (3, 3, "packages")]
            + [(1, 1, "steps")] * 2
            + [(1, 3, "steps"), (2, 3, "steps"), *[(3, 3, "steps")] * 3, (1, 3, "steps")],
        ),
        (
            BY_5,
            "lsvpd",
            [
                (3, 4, "packages"),
                (4, 4, "packages"),
                (1, 6, "steps"),
                (2, 6, "steps"),
                (62, 146, "steps"),
                (3, 3, "steps"),
            ],
        ),
    ],
    ids=["dnf 4", "dnf5"],
)
def test_progress_and_missing_members_are_reported(text, member, moves):
    """First of packages, then of steps."""
    _, report = heard(text)
    assert report.moves == moves
    assert report.notes == [f"a group names {member}, which no repository has"]


@pytest.mark.parametrize(
    "line",
    [
        "warning: group shadow does not exist - using root",
        ">>> [RPM] group shadow does not exist - using root",
    ],
)
def test_files_without_their_owner_are_noted_once(line):
    """rpm makes them root's and goes on; whoever reads the run later is told."""
    _, report = heard(f"{line}\n{line}")
    assert report.notes == ["group shadow was not there when its files came: they are root's"]


def test_scripts_that_fail_are_heard_in_the_words_of_dnf_4():
    """Each once, with what it printed itself, and nobody else's."""
    listener, _ = heard(BY_4)
    assert listener.failed == [
        Failed(
            "badlua",
            "pretrans",
            "1: lua is wrong",
            ('error: lua script failed: [string "%pretrans(badlua-1-1.noarch)"]:1: lua is wrong',),
        ),
        Failed(
            "bad-pre",
            "prein",
            "exit status 3",
            (
                "I fail in pre",
                "on stderr",
                "error: %prein(bad-pre-1-1.noarch) scriptlet failed, exit status 3",
            ),
        ),
        Failed(
            "killed",
            "post",
            "signal 9",
            ("warning: %post(killed-1-1.noarch) scriptlet failed, signal 9",),
        ),
    ]
    assert [each.left_out for each in listener.failed] == [True, True, False]


def test_scripts_that_fail_are_heard_in_the_words_of_dnf5():
    """Which says so before they speak."""
    listener, _ = heard(BY_5)
    assert listener.failed == [
        Failed(
            "netcat",
            "preun",
            "exit status 2",
            (
                "failed to create admindir: No such file or directory",
                "%preun(netcat-1.229-3.fc43.x86_64) scriptlet failed, exit status 2",
            ),
        ),
        Failed(
            "flotestro-lab-broken",
            "post",
            "exit status 1",
            (
                "flotestro-lab-broken: the maintainer script of this package fails by design;",
                "%post(flotestro-lab-broken-1.0.0-1.noarch) scriptlet failed, exit status 1",
            ),
        ),
    ]


@pytest.mark.parametrize(
    ("line", "failed"),
    [
        ("Error in POSTIN scriptlet in rpm package x-y", Failed("x-y", "postin", "", ("spoke",))),
        (
            ">>> Error in %pre scriptlet: x-y-0:1-1.noarch",
            Failed("x-y", "pre", "", ("spoke",)),
        ),
        (
            ">>> Error in %pre scriptlet: x-y-0:1-1.noarch return code 2",
            Failed("x-y", "pre", "", ("spoke",)),
        ),
    ],
)
def test_dnfs_own_word_is_enough(line, failed):
    """Where rpm says nothing, or in words that nobody here knows."""
    listener, _ = heard(f"spoke\n{line}")
    (found,) = listener.failed
    assert (found.package, found.script, found.how) == (failed.package, failed.script, failed.how)
    assert found.output[0] == "spoke"


# dnf5 5.4.6 with rpm 6.1.0.
SCRIPTS_BY_5 = """\
Running transaction
[ 2/27] Prepare transaction             100% |   6.1 KiB/s |  25.0   B |  00m00s
[23/27] Installing ep-3:1-1.noarch      100% |  30.3 KiB/s | 124.0   B |  00m00s
>>> Running %post scriptlet: ep-3:1-1.noarch
>>> Non-critical error in %post scriptlet: ep-3:1-1.noarch
>>> [RPM] %post(ep-3:1-1.noarch) scriptlet failed, exit status 7
[24/27] Installing sh-fine-0:1-1.noarch 100% |  40.4 KiB/s | 124.0   B |  00m00s
>>> Running %post scriptlet: sh-fine-0:1-1.noarch
>>> Finished %post scriptlet: sh-fine-0:1-1.noarch
>>> Scriptlet output:
>>> all is well
>>>
>>> Running %pre scriptlet: sh-pre-0:1-1.noarch
>>> Error in %pre scriptlet: sh-pre-0:1-1.noarch
>>> Scriptlet output:
>>> first words of pre
>>> second words
>>>
>>> [RPM] %prein(sh-pre-1-1.noarch) scriptlet failed, exit status 3
>>> [RPM] sh-pre-1-1.noarch: install failed
>>> Running %triggerin scriptlet: filetrig-0:1-1.noarch
>>> Non-critical error in %triggerin scriptlet: filetrig-0:1-1.noarch
>>> Scriptlet output:
>>> /usr/share/zoo/a
>>>
>>> [RPM] %filetriggerin(filetrig-1-1.noarch) scriptlet failed, exit status 5
>>> Running %post scriptlet: lua-post-0:1-1.noarch
>>> Non-critical error in %post scriptlet: lua-post-0:1-1.noarch
>>> Scriptlet output:
>>> lua speaks in post
>>>
>>> [RPM] lua script failed: [string "%post(lua-post-1-1.noarch)"]:2: this went wrong
Transaction failed: Rpm transaction failed."""


def test_each_kind_of_script_is_heard_in_the_words_of_dnf5():
    """By rpm's name for it, where dnf5 has another."""
    listener, _ = heard(SCRIPTS_BY_5)
    assert [each.told for each in listener.failed] == [
        "%post of ep (exit status 7)",
        "%prein of sh-pre (exit status 3)",
        "%filetriggerin of filetrig (exit status 5)",
        "%post of lua-post (2: this went wrong)",
    ]
    assert [each.output[:-1] for each in listener.failed] == [
        (),
        ("first words of pre", "second words"),
        ("/usr/share/zoo/a",),
        ("lua speaks in post",),
    ]
    assert [each.left_out for each in listener.failed] == [False, True, False, False]


def test_a_trigger_that_fails_is_its_own_packages_alone():
    """dnf 4.14 puts it down to the one that set it off, besides."""
    listener, _ = heard("""\
  Running scriptlet: target-1-1.noarch                                    22/22
triggerin talks
warning: %triggerin(trigin-1-1.noarch) scriptlet failed, exit status 4

Error in <unknown> scriptlet in rpm package target
""")
    assert [each.told for each in listener.failed] == ["%triggerin of trigin (exit status 4)"]


def test_failed_scripts_are_one_fault_but_for_those_that_may():
    """With the whole of what to write, so that it can be pasted."""
    listener, _ = heard(BY_4)
    fault = listener.fault(allowed=["kill*"])
    assert type(fault) is ToolFault
    assert fault.problem == (
        "2 scriptlet(s) failed: %pretrans of badlua (1: lua is wrong), %prein of bad-pre (exit status 3)"
    )
    assert fault.hint == (
        "mend the package, or let its scripts fail: yum: {allow_failing: [kill*, badlua, bad-pre]};"
        " one whose %pre fails is left out"
    )
    assert listener.fault(allowed=["*"]) is None
    assert heard("Complete!")[0].fault() is None
