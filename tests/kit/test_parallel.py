import threading
import time
from contextlib import closing
from functools import partial

import pytest

from tasks.kit.parallel import alongside, in_order


def test_results_come_in_the_order_of_the_jobs():
    """However long each takes."""

    def job(index):
        time.sleep((index % 3) * 0.002)
        return index

    assert list(in_order((partial(job, index) for index in range(30)), threads=4, ahead=2)) == list(
        range(30)
    )


def test_no_more_jobs_are_begun_than_agreed():
    """One per thread and some ahead: memory is bounded by it."""
    before = set(threading.enumerate())
    begun: list[int] = []
    jobs = (partial(begun.append, index) for index in range(100))
    with closing(in_order(jobs, threads=2, ahead=3)) as results:
        next(results)
        time.sleep(0.05)
        assert len(begun) == 5
    assert len(begun) == 5
    assert set(threading.enumerate()) <= before


def test_an_exception_comes_out_in_its_place_and_ends_the_threads():
    """What was before it is had first."""
    before = set(threading.enumerate())

    def job(index):
        return 12 // (index - 2)

    results = in_order((partial(job, index) for index in range(9)), threads=2, ahead=2)
    assert [next(results), next(results)] == [-6, -12]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert set(threading.enumerate()) <= before


def test_a_deed_is_done_with_each_in_order_before_the_end():
    """In a thread of its own, one at a time."""
    seen: list[tuple[int, bool]] = []
    here = threading.current_thread()

    def deed(item):
        seen.append((item, threading.current_thread() is here))

    assert list(alongside(range(50), deed, behind=3)) == list(range(50))
    assert seen == [(item, False) for item in range(50)]


@pytest.mark.parametrize("count", [1, 9])
def test_a_deed_that_fails_is_told(count):
    """At the latest at the end."""
    with pytest.raises(ZeroDivisionError):
        list(alongside([0] * count, lambda item: 1 // item, behind=3))
