"""Training in two processes on the processor: equal weights, averaged gradients, and runs that go on."""

import dataclasses
import json
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from psic_cli.training import distributed
from psic_cli.training.config import TrainingConfig
from psic_cli.training.run import Run

ROOT = Path(__file__).parent.parent.parent

WORKER = """
import os, pickle, signal, sys
from pathlib import Path
import torch
from psic_cli.training import conditions, distributed, recipe, shield
from tests.training.models import SmallModel

torch.set_num_threads(1)
shield.load_vlp = lambda spec, device: SmallModel(spec)
conditions.SIDES, conditions.PICTURE_PIXELS, conditions.JUDGED = [64], 64 * 64, {64: 1, 128: 1}
config, folder, stop_in = pickle.loads(Path(sys.argv[1]).read_bytes())
seen = []
original = conditions.ConditionsStage.loss
def loss(self):
    if len(seen) == stop_in and distributed.rank() == 1:
        signal.raise_signal(signal.SIGTERM)
    found = original(self)
    seen.append(found[0].item())
    return found
conditions.ConditionsStage.loss = loss
try:
    run = recipe.train(config, Path(folder))
except KeyboardInterrupt:
    run = None
if os.path.isdir("/proc/self/task"):  # a thread of the group that outlives it may abort the exit
    names = [Path(f"/proc/self/task/{task}/comm").read_text().strip() for task in os.listdir("/proc/self/task")]
    assert not [name for name in names if "gloo" in name or "tcpstore" in name], names
if run is None:
    sys.exit(130)
state = {key: value.clone() for key, value in run.network.state_dict().items()}
torch.save((state, seen), Path(folder) / f"result{distributed.rank()}.pt")
"""


Result = tuple[dict[str, torch.Tensor], list[float]]


def train_in_two(config: TrainingConfig, folder: Path, stop_in: int = -1) -> list[Result]:
    """The network's state and the losses of the second stage in each process. In step `stop_in` of that stage,
    counted from 0, the second process gets a signal; then there are no results.
    """
    folder.mkdir(exist_ok=True)
    task = folder / "task"
    task.write_bytes(pickle.dumps((config, str(folder), stop_in)))
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(task)],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        words = [worker.communicate(timeout=500)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0 if stop_in < 0 else 130] * 2, words
    return [] if stop_in >= 0 else [torch.load(folder / f"result{rank}.pt") for rank in range(2)]


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


@pytest.mark.slow
def test_two_processes_train_one_network_and_go_on_after_a_stop(conditions_config, tmp_path):
    config = dataclasses.replace(
        conditions_config,
        save_every=2,
        compression=dataclasses.replace(conditions_config.compression, steps=1),
        conditions=dataclasses.replace(conditions_config.conditions, steps=4),
    )
    (first, losses), (second, others) = train_in_two(config, tmp_path / "whole")
    assert len(losses) == len(others) == 4
    assert losses != others  # their pictures differ
    for key, value in first.items():
        assert torch.equal(value, second[key]), key
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text("utf-8").splitlines()]
    assert [line["stage"] for line in lines if "validation" in line] == ["compression", "conditions"]  # once each
    state = torch.load(tmp_path / "whole" / "checkpoint.pt", weights_only=False)
    assert len(state["processes"]) == 2
    alone = Run(config, tmp_path / "whole", "cpu")  # one process reads what two have written
    alone.load()
    assert alone.finished == ["compression", "conditions"]

    train_in_two(config, tmp_path / "stopped", stop_in=1)  # one process is told, both stop
    (resumed, later), (_, others_later) = train_in_two(config, tmp_path / "stopped")
    assert (later, others_later) == (losses[2:], others[2:])
    for key, value in first.items():
        assert torch.equal(value, resumed[key]), key


# In one process nothing happens


def test_alone_all_is_as_if_nothing_were_there(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("RANK", "3")  # means nothing without a world
    assert (distributed.count(), distributed.rank(), distributed.is_first()) == (1, 0, True)
    assert distributed.join("cpu") == "cpu"
    parameter = nn.Parameter(torch.ones(2))
    distributed.average_gradients([parameter])
    assert parameter.grad is None
    values = torch.tensor([1.0, 2.0])
    assert distributed.total(values) is values
    assert distributed.any_of(True, "cpu")
    assert not distributed.any_of(False, "cpu")
    assert distributed.everyone("me") == ["me"]
    distributed.wait()
    distributed.leave()
