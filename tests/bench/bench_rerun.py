"""A run with nothing to do, against a bare doit with as many tasks that has nothing to do either.

Usage: python tests/bench/bench_rerun.py PROJECT, where PROJECT is a checkout that has built its images.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 11
BARE = """\
def task_bare():
    for number in range({tasks}):
        yield {{
            "name": str(number),
            "actions": ["touch out-%d" % number],
            "file_dep": ["dodo.py"],
            "targets": ["out-%d" % number],
        }}
"""


def main(project: Path) -> None:
    listed = subprocess.run(
        doit("list", "--all", "--quiet"), cwd=project, capture_output=True, text=True, check=True
    )
    tasks = len(listed.stdout.splitlines())
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder)
        (bare / "dodo.py").write_text(BARE.format(tasks=tasks))
        for place in (project, bare):
            once(place)
        pairs = [(once(project), once(bare)) for _ in range(ROUNDS)]
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    print(
        f"{tasks} tasks: ours {ours:.2f} s, a bare doit {theirs:.2f} s, ratio {ratio:.1f} (median of {ROUNDS} pairs)"
    )


def once(place: Path) -> float:
    began = time.perf_counter()
    subprocess.run(doit(), cwd=place, check=True, capture_output=True)
    return time.perf_counter() - began


def doit(*args: str) -> list[str]:
    return [sys.executable, "-m", "doit", *args]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
