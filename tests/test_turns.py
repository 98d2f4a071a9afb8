"""Which pictures of a batch are computed at the same time."""

import threading

import pytest
import torch

from psic_cli.turns import MOST_PIXELS, Turns, sharing
from tests.threads import torch_threads

SOON, A_WHILE = 20.0, 0.2


class Picture(threading.Thread):
    """Takes a turn, and keeps it until it is told to end."""

    def __init__(self, turn, pixels):
        super().__init__(daemon=True)
        self.turn, self.pixels, self.begun, self.over = turn, pixels, threading.Event(), threading.Event()
        self.start()

    def run(self):
        with self.turn(self.pixels):
            self.begun.set()
            self.over.wait(SOON)

    def waits(self):
        return not self.begun.wait(A_WHILE)

    def runs(self):
        return self.begun.wait(SOON)

    def end(self):
        self.over.set()
        self.join(SOON)


def test_so_many_small_pictures_are_computed_at_once():
    turn = Turns(2)
    first, second = (Picture(turn, 1000) for _ in range(2))
    assert first.runs()
    assert second.runs()
    third = Picture(turn, 1000)
    assert third.waits()
    first.end()
    assert third.runs()
    second.end()
    third.end()


def test_a_large_picture_is_computed_alone_and_is_not_overtaken():
    turn = Turns(3)
    small = Picture(turn, 1000)
    assert small.runs()
    large = Picture(turn, MOST_PIXELS + 1)
    assert large.waits()
    late = Picture(turn, 1000)
    assert late.waits()
    small.end()
    assert large.runs()
    assert late.waits()
    large.end()
    assert late.runs()
    late.end()


def test_a_picture_that_fails_gives_its_turn_back():
    turn = Turns()
    with pytest.raises(ValueError, match="broken"), turn(1000):
        raise ValueError("broken")
    next_one = Picture(turn, 1000)
    assert next_one.runs()
    next_one.end()


@pytest.fixture
def four_threads():
    with torch_threads(4):
        yield


@pytest.mark.parametrize(("pictures", "each"), [(1, 4), (2, 2), (3, 1), (64, 1)])
def test_pictures_share_the_threads(pictures, each, four_threads):
    found = []
    with sharing(pictures, "cpu") as turn:
        at_once = [Picture(turn, 1000) for _ in range(min(pictures, 4))]
        assert all(picture.runs() for picture in at_once)
        started = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        started.start()
        started.join()
        for picture in at_once:
            picture.end()
    assert found == [each]
    assert torch.get_num_threads() == 4


def test_a_user_who_wants_one_thread_gets_one_picture_at_a_time(four_threads):
    torch.set_num_threads(1)
    with sharing(2, "cpu") as turn:
        first = Picture(turn, 1000)
        assert first.runs()
        second = Picture(turn, 1000)
        assert second.waits()
        first.end()
        assert second.runs()
        second.end()
