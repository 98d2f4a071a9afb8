"""What is kept is made once, by whichever thread asks first."""

import threading
import time

from psic_cli.kept import kept


def test_of_threads_that_ask_at_once_one_makes_it():
    made = []

    @kept(1)
    def make(name):
        time.sleep(0.1)
        made.append(name)
        return object()

    found = []
    threads = [threading.Thread(target=lambda: found.append(make("a"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["a"]
    assert len(set(map(id, found))) == 1
    make("b")
    make("a")
    assert made == ["a", "b", "a"]  # one result stays
    make.cache_clear()
    make("a")
    assert made == ["a", "b", "a", "a"]
