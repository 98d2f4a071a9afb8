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
from tests.cli.run import child_environment, psic, psic_process
from tests.ray.conftest import BUCKET

pytestmark = pytest.mark.xdist_group("ray")  # one cluster for all

ENCODE = ("encode", "-m", "tiny", "--effort", "0", "--quiet")
COUNT = 42  # pictures that are none of these
BROKEN = {"broken.png": picture_bytes(1)[:60], "empty.jpg": b""}


@pytest.fixture
def album(tmp_path, monkeypatch):
    """A current folder with pictures in folders below in/, two of them broken, two of one name."""
    monkeypatch.chdir(tmp_path)
    for number in range(COUNT):
        path = Path("in", f"trip {number % 3}", f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture_bytes(number))
    Path("in", "trip 0", "0.jpg").write_bytes(picture_bytes(0, "JPEG"))
    for name, data in BROKEN.items():
        Path("in", name).write_bytes(data)
    return tmp_path


def rows(path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]


def files(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def once(condition, action) -> threading.Thread:
    """Act in a thread as soon as something holds."""

    def wait():
        end = time.monotonic() + 120
        while not condition():
            if time.monotonic() > end:
                return
            time.sleep(0.05)
        action()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def kill_a_worker(cluster):
    os.kill(cluster.workers()[0], signal.SIGKILL)


def test_pictures_come_out_once_and_as_on_one_machine_though_a_worker_is_killed(cluster, album):
    alone = psic_process(*ENCODE, "--open", "-r", "in", "-o", "alone", "--report", "alone.jsonl")
    killing = once(lambda: len(files("out")) >= 5, lambda: kill_a_worker(cluster))
    done = psic_process(*ENCODE, "--open", "--ray", "auto", "in", "-o", "out", "--report", "out.jsonl")
    killing.join()
    assert done.code == alone.code == ExitCode.PARTIAL, done.stderr
    assert files("out") == files("alone")
    assert "Traceback" not in done.stderr
    assert sorted(done.stderr.splitlines()) == sorted(alone.stderr.replace("alone/", "out/").splitlines())
    unlike = {"seconds"}
    one, two = (
        sorted(
            ({key: value for key, value in row.items() if key not in unlike} for row in rows(name)),
            key=lambda row: row["input"],
        )
        for name in ("alone.jsonl", "out.jsonl")
    )
    assert two == json.loads(json.dumps(one).replace("alone/", "out/"))
    assert Counter(row["status"] for row in two) == {"done": COUNT, "failed": 3}


def test_a_store_that_is_away_for_ten_seconds_gets_every_picture_and_no_key_stays_in_the_cluster(cluster, store, album):
    keys.create_key_file(album / "key.bin")
    target = f"s3://{BUCKET}/out"

    def lose_the_network():
        store.stop()
        time.sleep(10)
        store.start()

    outage = once(lambda: len(store.names("out")) >= 5, lose_the_network)
    done = psic_process(*ENCODE, "--condition", "key.bin", "--ray", "auto", "in", "-o", target, "--report", "out.jsonl")
    outage.join()
    assert done.code == ExitCode.PARTIAL, done.stderr
    expected = {f"trip {number % 3}/{number}.psic" for number in range(COUNT)}
    assert store.names("out") == expected
    assert Counter(row["status"] for row in rows("out.jsonl")) == {"done": COUNT, "failed": 3}
    assert {row["output"] for row in rows("out.jsonl") if row["status"] == "done"} == {
        f"{target}/{name}" for name in expected
    }

    full = psic_process(
        "decode", "--quiet", "--condition", "key.bin", "--ray", "auto", f"{target}/trip 1", "-o", "full"
    )
    assert full.code == ExitCode.OK, full.stderr
    Path("1.psic").write_bytes(store.read("out/trip 1/1.psic"))
    assert psic("decode", "--condition", "key.bin", "1.psic", "-o", "1.png").code == ExitCode.OK
    assert Path("full/1.png").read_bytes() == Path("1.png").read_bytes()
    assert len(files("full")) == COUNT // 3

    secret = keys.read_key_file(album / "key.bin")
    spellings = (secret, secret.hex().encode(), repr(secret)[2:-1].encode())
    written = [path for path in cluster.folder.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert [path for path in written if any(text in path.read_bytes() for text in spellings)] == []


def test_a_full_store_fails_pictures_one_by_one_and_skip_existing_goes_on(cluster, store, album):
    target = f"s3://{BUCKET}/full"
    full = ("507 Insufficient Storage", "XMinioStorageFull")
    store.refuse = lambda method, path: full if method == "PUT" and "trip 2" in path else None
    try:
        done = psic_process(*ENCODE, "--open", "--ray", "auto", "in", "-o", target, "--report", "full.jsonl")
    finally:
        store.refuse = lambda method, path: None
    assert done.code == ExitCode.PARTIAL
    failed = [row for row in rows("full.jsonl") if row.get("exit_code") == ExitCode.OUTPUT]
    assert len(failed) == COUNT // 3 + 1, done.stderr
    assert len(store.names("full")) == COUNT - COUNT // 3
    words = (*ENCODE, "--open", "--skip-existing", "--ray", "auto", "in", "-o", target, "--report", "full.jsonl")
    assert psic_process(*words).code == ExitCode.PARTIAL
    assert len(store.names("full")) == COUNT
    counts = {"done": COUNT // 3, "skipped": COUNT - COUNT // 3, "failed": 3}
    assert Counter(row["status"] for row in rows("full.jsonl")[COUNT + 3 :]) == counts


def test_an_audit_on_a_cluster_is_one_file_for_each_picture(cluster, store, album):
    words = ("audit", "-m", "tiny", "--effort", "0", "--vlp", "witness:lite0")
    done = psic_process(*words, "--ray", "auto", "in/trip 1/1.png", "in/broken.png", "-o", "audits", "--report", "rows")
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


def test_a_store_that_refuses_credentials_is_one_line(cluster, store, album):
    store.refuse = lambda method, path: ("403 Forbidden", "InvalidAccessKeyId")
    try:
        done = psic_process(
            *ENCODE, "--open", "--ray", "auto", f"s3://{BUCKET}/in", "-o", "out", "--report", "out.jsonl"
        )
    finally:
        store.refuse = lambda method, path: None
    assert done.code == ExitCode.INPUT
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not Path("out").exists()
    assert not Path("out.jsonl").exists()


PROGRAM = """
import pickle, sys
import ray, ray.data
from psic_cli.ray import encode_dataset
ray.init(address="auto", log_to_driver=False)
pictures = pickle.loads(sys.stdin.buffer.read())
made = encode_dataset(ray.data.from_items(pictures), open=True, model="tiny", effort=0).take_all()
with open("made.pickle", "wb") as file:
    pickle.dump(made, file)
"""


def test_a_dataset_gets_columns_with_psic_files(cluster, album):
    pictures = [{"name": name, "bytes": data} for name, data in (("a", picture_bytes(1)), ("b", b"no picture"))]
    words = [sys.executable, "-c", PROGRAM]
    subprocess.run(words, input=pickle.dumps(pictures), env=child_environment(), check=True, capture_output=True)
    first, second = sorted(pickle.loads(Path("made.pickle").read_bytes()), key=lambda row: row["name"])
    Path("a.png").write_bytes(picture_bytes(1))
    assert psic_process(*ENCODE, "--open", "a.png").code == ExitCode.OK
    assert first["psic"] == Path("a.psic").read_bytes()
    assert (first["error"], first["exit_code"], first["width"], first["height"]) == ("", 0, 40, 24)
    assert "not a picture" in second["error"]
    assert second["exit_code"] == ExitCode.INPUT
    assert set(first) == {"name", "psic", "error", "exit_code", "width", "height", "warnings"}
