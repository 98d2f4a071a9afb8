"""Work in several threads, with results in order."""

import threading

import pytest

from psic_cli.shell.parallel import in_order

SOON = 20.0


def test_results_come_in_order_whichever_is_done_first():
    second = threading.Event()

    def work(number):
        if number == 0:
            assert second.wait(SOON)
        if number == 1:
            second.set()
        return number

    assert list(in_order(work, 5, threads=2)) == [0, 1, 2, 3, 4]


def test_what_one_raises_comes_in_its_turn():
    def work(number):
        if number == 1:
            raise ValueError("the second")
        return number

    results = in_order(work, 3, threads=3)
    assert next(results) == 0
    with pytest.raises(ValueError, match="the second"):
        next(results)


def test_nothing_is_begun_any_more_once_nobody_asks():
    begun, asked = [], threading.Event()

    def work(number):
        begun.append(number)
        if number:
            assert asked.wait(SOON)
        return number

    results = in_order(work, 100, threads=1)
    assert next(results) == 0
    results.close()
    asked.set()
    for thread in threading.enumerate():
        if thread.daemon and thread is not threading.current_thread() and "labour" in thread.name:
            thread.join(SOON)
    assert len(begun) <= 2


def test_of_nothing_nothing_comes():
    assert list(in_order(lambda number: number, 0, threads=2)) == []
