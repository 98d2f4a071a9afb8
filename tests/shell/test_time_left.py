from psic_cli.shell.terminal import TimeLeft


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self):
        return self.now


def started(total):
    clock = Clock()
    return clock, TimeLeft(total, clock)


def test_nothing_is_promised_before_the_first_picture_is_done():
    clock, left = started(10)
    clock.now += 40
    assert str(left) == ""


def test_slow_pictures_get_an_estimate_from_the_first_on_that_is_counted_down():
    clock, left = started(4)
    clock.now += 60
    left.advance()
    assert str(left) == "3 min 0 s left"
    clock.now += 30
    assert str(left) == "2 min 30 s left"


def test_a_picture_that_is_slower_than_those_before_makes_the_estimate_grow():
    clock, left = started(4)
    clock.now += 60
    left.advance()
    clock.now += 300
    assert str(left) == "6 min 0 s left"  # two more, of (60 + 300) / 2 each


def test_the_last_picture_is_never_said_to_take_no_time():
    clock, left = started(2)
    clock.now += 60
    left.advance()
    clock.now += 90
    assert str(left) == "longer than expected"
    left.advance()
    assert str(left) == ""


def test_pictures_that_were_there_already_do_not_make_the_rest_look_quick():
    clock, left = started(100)
    for _ in range(50):
        clock.now += 0.01
        left.advance(worked=False)
    assert str(left) == ""
    clock.now += 60
    left.advance()
    assert str(left) == "49 min 0 s left"
