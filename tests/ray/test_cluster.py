"""Whole commands on a real cluster, with what goes wrong in clusters."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from psic_cli import keys
from psic_cli.shell.exit_codes import ExitCode
from tests.cli.conftest import picture_bytes
from tests.cli.run import child_environment, psic_process
from tests.ray.conftest import BUCKET, MODELS
from tests.ray.jobs import DEADLY

pytestmark = pytest.mark.xdist_group("ray")  # one cluster for all

ENCODE = ("encode", "-m", "tiny", "--effort", "0", "--strength", "0", "--quiet")
BROKEN = {"broken.png": picture_bytes(1)[:60], "empty.jpg": b"", "trip 1/words.png": b"no picture"}


def album(folder: Path, count: int) -> None:
    """Into a folder, pictures in folders below in/ that are none of BROKEN; beside it code that nobody may run."""
    for number in range(count):
        path = folder / "in" / f"trip {number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture_bytes(number))
    for module in ("torch", "numpy", "PIL"):
        (folder / f"{module}.py").write_text("raise SystemExit('this was never meant to be imported')")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]


def files(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def as_soon_as(condition, action) -> None:
    end = time.monotonic() + 600
    while not condition() and time.monotonic() < end:
        time.sleep(0.2)
    action()


def test_hundreds_of_pictures_come_out_once_and_as_on_one_machine_whatever_happens(cluster, store, folder):
    """A worker is killed, later the object store is away for ten seconds, and some pictures are broken."""
    count, target = 250, f"s3://{BUCKET}/out"
    album(folder, count)
    for name, data in (*BROKEN.items(), ("trip 0/0.jpg", picture_bytes(0, "JPEG"))):  # would be 0.psic as well
        Path("in", name).write_bytes(data)

    def lose_the_network():
        store.stop()
        time.sleep(10)
        store.start()

    def spoil():
        as_soon_as(lambda: len(store.names("out")) >= 5, lambda: os.kill(cluster.workers()[0], signal.SIGKILL))
        as_soon_as(lambda: len(store.names("out")) >= 100, lose_the_network)

    spoiling = threading.Thread(target=spoil, daemon=True)
    spoiling.start()
    done = cluster.psic(*ENCODE, "--open", "--ray", "auto", "in", "-o", target, "--report", "out.jsonl")
    assert done.code == ExitCode.PARTIAL, done.stderr
    spoiling.join()
    words = (*ENCODE, "--open", "-r", "in", "-o", "alone", "--report", "alone.jsonl")
    alone = psic_process(*words, PSIC_MODELS=str(MODELS))
    assert alone.code == ExitCode.PARTIAL, alone.stderr
    expected = files("alone")
    assert len(expected) == count
    assert store.names("out") == set(expected)
    assert {name: store.read(f"out/{name}") for name in expected} == expected
    assert sorted(done.stderr.splitlines()) == sorted(alone.stderr.replace("alone/", f"{target}/").splitlines())

    def in_order(name):
        kept = ({field: value for field, value in row.items() if field != "seconds"} for row in rows(name))
        return sorted(kept, key=lambda row: row["input"])

    assert in_order("out.jsonl") == json.loads(json.dumps(in_order("alone.jsonl")).replace("alone/", f"{target}/"))
    assert Counter(row["status"] for row in rows("out.jsonl")) == {"done": count, "failed": len(BROKEN) + 1}


def test_what_is_sealed_on_a_cluster_is_opened_there_and_no_key_stays_in_it(cluster, store, folder):
    album(folder, 6)
    keys.create_key_file(folder / "key.bin")
    sealed, words = f"s3://{BUCKET}/sealed", ("--condition", "key.bin", "--ray")
    done = cluster.psic(*ENCODE, *words, cluster.client_address(), "in", "-o", sealed)
    assert done.code == ExitCode.OK, done.stderr
    full = cluster.psic("decode", "--quiet", *words, "auto", f"{sealed}/trip 1", "-o", "full")
    assert full.code == ExitCode.OK, full.stderr
    Path("sealed").mkdir()
    for name in ("1", "4"):
        Path("sealed", f"{name}.psic").write_bytes(store.read(f"sealed/trip 1/{name}.psic"))
    alone = ("decode", "--condition", "key.bin", "-r", "sealed", "-o", "alone")
    assert psic_process(*alone, PSIC_MODELS=str(MODELS)).code == ExitCode.OK
    assert files("full") == files("alone")
    assert set(files("full")) == {"1.png", "4.png"}

    secret = keys.read_key_file(folder / "key.bin")
    spellings = (secret, secret.hex().encode(), repr(secret)[2:-1].encode())
    written = [path for path in cluster.folder.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert [path for path in written if any(text in path.read_bytes() for text in spellings)] == []
    stored = cluster.stored()
    assert b"psic_cli.ray.listing" in stored  # the list is, by which one sees that this is the store
    assert not any(text in stored for text in spellings)


@pytest.fixture
def small_disk(folder):
    """A folder that has room for few files."""
    place = folder / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "psic", place], capture_output=True).returncode:
        pytest.skip("may not mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_on_a_full_disk_pictures_fail_one_by_one_and_none_is_there_in_part(cluster, folder, small_disk):
    album(folder, 30)
    done = cluster.psic(*ENCODE, "--open", "--ray", "auto", "in", "-o", "disk/out", "--report", "out.jsonl")
    assert done.code == ExitCode.PARTIAL
    told = rows("out.jsonl")
    assert len(told) == 30
    failed = [row for row in told if row["status"] == "failed"]
    assert {row["exit_code"] for row in failed} == {ExitCode.OUTPUT}
    assert all("no space left" in row["error"] for row in failed)
    made = {row["output"]: row["bytes_out"] for row in told if row["status"] == "done"}
    assert 0 < len(made) < 30
    assert {f"disk/out/{name}": len(data) for name, data in files("disk/out").items()} == made


@pytest.mark.parametrize(
    ("address", "number", "code"), [("auto", signal.SIGINT, ExitCode.INTERRUPTED), ("local", signal.SIGTERM, 143)]
)
def test_after_a_signal_the_report_has_what_is_there_and_skip_existing_goes_on(cluster, folder, address, number, code):
    album(folder, count := 40)
    words = (*ENCODE, "--open", "--skip-existing", "--ray", address, "in", "-o", "out", "--report", "out.jsonl")
    processes = set(cluster.processes())
    command = cluster.start_psic(*words)
    as_soon_as(
        lambda: len(list(Path("out").rglob("*.psic"))) >= 5 or command.poll() is not None,
        lambda: os.killpg(command.pid, number),
    )
    _, said = command.communicate(timeout=600)
    assert command.returncode == code, said
    assert b"Traceback" not in said
    made = files("out")
    assert 5 <= len(made) < count
    assert sorted(row["output"] for row in rows("out.jsonl")) == sorted(f"out/{name}" for name in made)
    as_soon_as(lambda: not cluster.workers(), lambda: None)
    assert cluster.workers() == []
    assert files("out") == made
    if address == "local":
        assert set(cluster.processes()) <= processes
        return
    assert cluster.psic(*words).code == ExitCode.OK
    assert len(files("out")) == count
    assert made.items() <= files("out").items()
    told = Counter(row["status"] for row in rows("out.jsonl"))
    assert told == {"done": count, "skipped": len(made)}


def program(cluster, code: str) -> subprocess.CompletedProcess:
    """Somebody's program on the cluster."""
    environment = child_environment(**cluster.environment)
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


DEADLY_RUN = """
import os, signal, sys
sys.path.insert(0, os.environ["PYTHONPATH"])
from psic_cli.ray.run import run
from psic_cli.shell.batch import Rules
from psic_cli.shell.streams import claim_streams
from tests.ray.jobs import Copying
from tests.ray.measure import KIND
with claim_streams() as standard:
    words = ("auto", ["in"], "out", KIND, Copying(), Rules(report="out.jsonl"), standard)
    sys.exit(run(*words, secret=None, threads=1, doing="copying"))
"""


def test_a_picture_that_three_workers_died_of_fails_and_no_other_does_and_nothing_is_left_of_it(cluster, folder):
    Path("in").mkdir()
    for number in range(70):  # those that come last are handed out in pairs
        Path("in", f"{number:02}.png").write_bytes(DEADLY if number == 68 else b"%d" % number)
    done = program(cluster, DEADLY_RUN)
    assert done.returncode == ExitCode.PARTIAL, done.stderr
    told = {row["input"]: row for row in rows("out.jsonl")}
    assert len(rows("out.jsonl")) == len(told) == 70
    (failed,) = (row for row in told.values() if row["status"] == "failed")
    assert failed["error"] == "in/68.png: 3 workers died while they worked on it"
    assert failed["exit_code"] == ExitCode.INPUT
    assert files("out") == {f"{number:02}.copy": b"%d" % number for number in range(70) if number != 68}


def test_a_cluster_without_psic_is_one_line(cluster, folder):
    album(folder, 1)
    hidden = folder / "elsewhere" / "psic_cli" / "__init__.py"
    hidden.parent.mkdir(parents=True)
    hidden.write_text("raise ModuleNotFoundError(\"No module named 'psic_cli'\", name='psic_cli')")
    settings = json.dumps({"runtime_env": {"env_vars": {"PYTHONPATH": str(folder / "elsewhere")}}})
    words = (*ENCODE, "--open", "--ray", "auto", "in", "-o", "out", "--report", "out.jsonl")
    done = cluster.psic(*words, RAY_JOB_CONFIG_JSON_ENV_VAR=settings)
    assert done.code == ExitCode.USAGE
    assert done.stderr.splitlines() == [
        "psic: error: the cluster has no psic",
        "psic: hint: install it on every machine: pip install 'psic[ray]'",
    ]
    assert not Path("out").exists()


def test_an_audit_on_a_cluster_is_one_file_for_each_picture(cluster, folder):
    album(folder, 2)
    Path("in/broken.png").write_bytes(BROKEN["broken.png"])
    words = ("audit", "-m", "tiny", "--effort", "0", "--vlp", "witness:lite0")
    done = cluster.psic(*words, "--ray", "auto", "in/trip 1/1.png", "in/broken.png", "-o", "audits", "--report", "rows")
    assert done.code == ExitCode.PARTIAL, done.stderr
    assert set(files("audits")) == {"1.png.json"}
    (audited,) = json.loads(files("audits")["1.png.json"])["files"]
    assert audited["file"] == '"in/trip 1/1.png"'
    verdicts = {
        reading["version"]: reading["verdict"] for reading in audited["audits"][0]["readings"] if reading["verdict"]
    }
    found = {row["input"]: row for row in rows("rows")}
    assert found["in/trip 1/1.png"]["verdicts"] == {"witness:lite0": verdicts}
    assert found["in/broken.png"]["exit_code"] == ExitCode.INPUT


def test_a_store_that_refuses_credentials_is_one_line(cluster, store, folder):
    store.refuse = lambda method, path: ("403 Forbidden", "InvalidAccessKeyId")
    try:
        words = ("--open", "--ray", "auto", f"s3://{BUCKET}/in", "-o", "out", "--report", "out.jsonl")
        done = cluster.psic(*ENCODE, *words)
    finally:
        store.refuse = lambda method, path: None
    assert done.code == ExitCode.INPUT
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert list(folder.iterdir()) == []


DATASET = """
import pickle
import ray, ray.data
from psic_cli.ray import encode_dataset
ray.init(address="auto", log_to_driver=False)
pictures = pickle.load(open("pictures.pickle", "rb"))
made = encode_dataset(ray.data.from_items(pictures), open=True, model="tiny", effort=0, strength=0).take_all()
with open("made.pickle", "wb") as file:
    pickle.dump(made, file)
"""


def test_a_dataset_gets_columns_with_psic_files(cluster, folder):
    pictures = [{"name": name, "bytes": data} for name, data in (("a", picture_bytes(1)), ("b", b"no picture"))]
    Path("pictures.pickle").write_bytes(pickle.dumps(pictures))
    done = program(cluster, DATASET)
    assert done.returncode == 0, done.stderr
    first, second = sorted(pickle.loads(Path("made.pickle").read_bytes()), key=lambda row: row["name"])
    Path("a.png").write_bytes(picture_bytes(1))
    assert psic_process(*ENCODE, "--open", "a.png", PSIC_MODELS=str(MODELS)).code == ExitCode.OK
    assert first["psic"] == Path("a.psic").read_bytes()
    assert (first["error"], first["exit_code"], first["width"], first["height"]) == ("", 0, 40, 24)
    assert "not a picture" in second["error"]
    assert second["exit_code"] == ExitCode.INPUT
    assert set(first) == {"name", "psic", "error", "exit_code", "width", "height", "warnings"}
