"""What a cluster costs beside one machine: the figures of docs/ray.md. Not a test; each part takes minutes.

python -m tests.ray.measure rate FOLDER     pictures per second: psic encode -j 2, and two workers of --ray local
python -m tests.ray.measure growth COUNT    memory of the workers while they encode so many small pictures
python -m tests.ray.measure items COUNT     memory of the driver, with a job that copies tiny files
"""

import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from psic_cli.ray.run import run
from psic_cli.shell.batch import Rules
from psic_cli.shell.streams import claim_streams
from psic_cli.shell.terminal import terminal
from psic_cli.shell.worklist import Kind
from tests.cli.conftest import picture_bytes
from tests.cli.run import psic_process
from tests.ray.jobs import Copying

MODELS = Path(__file__).parents[1] / "vectors" / "models"
KIND = Kind(*("copy", "pictures", "a copy", frozenset({".png"}), ".copy"), file_suffixes=frozenset())
ENCODE = ("encode", "--open", "--effort", "0", "--quiet")


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


def resident_mb(process: str) -> float:
    """Of a process by its number, as /proc tells it."""
    try:
        lines = Path("/proc", process, "status").read_text("utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS")), 0.0)


def workers() -> list[str]:
    """Numbers of the processes that hold a model."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if (process / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
                found.append(process.name)
        except OSError:
            continue
    return found


class Watch:
    """How many files are there, and the processor seconds that all descendants of this process have used until then."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._seconds, self._over = folder, dict[str, float](), threading.Event()
        self.seen: list[tuple[float, int, float]] = []  # time, files, processor seconds
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            made = sum(1 for _ in self._folder.rglob("*.psic"))
            self._seconds |= dict(_descendants())  # those that are gone keep what they have used
            self.seen.append((time.monotonic(), made, sum(self._seconds.values())))

    def steady(self) -> tuple[float, float]:
        """Pictures a second, and processor seconds a picture, from the first picture to the last."""
        last = max(made for _, made, _ in self.seen)
        first = next(seen for seen in self.seen if seen[1] > 0)
        final = next(seen for seen in self.seen if seen[1] == last)
        count = final[1] - first[1]
        return count / (final[0] - first[0]), (final[2] - first[2]) / count


def _descendants() -> list[tuple[str, float]]:
    """Numbers of processes that this one has started, and those these have started, with their processor seconds."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text("utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        found[process.name] = (fields[1], (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
    ours = {str(os.getpid())}
    while more := {name for name, (parent, _) in found.items() if parent in ours} - ours:
        ours |= more
    return [(name, found[name][1]) for name in ours - {str(os.getpid())}]


def rate(album: Path) -> None:
    """By turns, twice: another program on the machine then slows down both. Processor seconds it changes less."""
    count = len(list(album.iterdir()))
    for _ in range(2):
        for name, words in (("-j 2", ("-r", "-j", "2")), ("--ray local", ("--ray", "local"))):
            with tempfile.TemporaryDirectory() as out, Watch(Path(out)) as watch:
                before = time.monotonic()
                words = (*ENCODE, *words, album, "-o", f"{out}/made/")
                done = psic_process(*words, OMP_NUM_THREADS=str(os.cpu_count()))  # as a user without it has
                seconds = time.monotonic() - before
            speed, cost = watch.steady()
            say(f"{name}: exit {done.code}, {count} pictures in {seconds:.0f} s with start and end")
            say(f"  from the first to the last {speed:.3f} a second, {cost:.2f} processor seconds each")


def growth(count: int) -> None:
    """Every 10 seconds, the largest worker."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in")
        source.mkdir()
        for number in range(count):
            (source / f"{number}.png").write_bytes(picture_bytes(number, width=96, height=64))
        words = (*ENCODE, "-m", "tiny", "--ray", "local", source, "-o", f"{folder}/out")
        done = []
        thread = threading.Thread(target=lambda: done.append(psic_process(*words, PSIC_MODELS=str(MODELS))))
        thread.start()
        while thread.is_alive():
            made = sum(1 for _ in Path(folder, "out").rglob("*.psic"))
            say(f"{made} pictures: {max(map(resident_mb, workers()), default=0):.0f} MB")
            thread.join(10)
        made = sum(1 for _ in Path(folder, "out").rglob("*.psic"))
        say(f"exit {done[0].code}, {made} pictures")


def items(count: int) -> None:
    """The driver's memory before, at the end, and at most."""
    with tempfile.TemporaryDirectory() as folder, claim_streams() as standard:
        for number in range(count):
            path = Path(folder, "in", str(number // 1000), f"a photo with a usual name {number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"tiny")
        import ray.data  # noqa: F401 (what it takes itself is not counted)

        terminal.quiet = True  # without a line for each
        before, most = resident_mb("self"), [0.0]

        def watch() -> None:
            while True:
                most[0] = max(most[0], resident_mb("self"))
                time.sleep(0.5)

        threading.Thread(target=watch, daemon=True).start()
        started = time.monotonic()
        rules = Rules(report=f"{folder}/rows.jsonl")
        words: Any = ("local", [f"{folder}/in"], f"{folder}/out", KIND, Copying(), rules, standard)
        code = run(*words, secret=None, threads=1, doing="copying")
        rows = Path(folder, "rows.jsonl").read_bytes().count(b"\n")
        say(f"{count} items, exit {int(code)}, {rows} rows, {time.monotonic() - started:.0f} s")
        say(f"driver: {before:.0f} MB before, {resident_mb('self'):.0f} MB at the end, {most[0]:.0f} MB at most")


if __name__ == "__main__":
    part, argument = sys.argv[1:]
    {
        "rate": lambda: rate(Path(argument)),
        "growth": lambda: growth(int(argument)),
        "items": lambda: items(int(argument)),
    }[part]()
