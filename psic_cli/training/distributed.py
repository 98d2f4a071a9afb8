"""Training in several processes: `torchrun --nproc-per-node N -m psic_cli train ...`.

Every process works on batches of its own and gradients are averaged, so `batch` in a configuration is per process. The
first process alone writes and speaks. With one process all functions here do nothing.

DistributedDataParallel is not used: it hooks into one module's `forward`, while a step here runs parts of the network
several times, under several conditions.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, distributed, nn


def count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """The number of this process, 0 for the first."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def is_first() -> bool:
    return rank() == 0


def join(device: str) -> str:
    """Meet the other processes, as torchrun's environment variables tell; returns the device of this one."""
    if count() == 1:
        return device
    if device.startswith("cuda"):
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        # Its functions keep the group that there is at their import, as a default argument, to the end of the process
        # (torch 2.14.1; an optimiser imports it). The group's threads then outlive leave() and may abort the exit.
        from torch.distributed.nn import functional as _  # noqa: F401

        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return device


def leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every process the mean of all gradients, in one message. A parameter without one in some process counts as
    zero there.
    """
    if count() == 1:
        return
    chosen = [p for p in parameters if p.requires_grad]
    together = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in chosen])
    distributed.all_reduce(together)
    together /= count()
    for parameter, part in zip(chosen, together.split([p.numel() for p in chosen]), strict=True):
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        parameter.grad.copy_(part.view(parameter.shape))


@torch.no_grad()
def start_alike(modules: Iterable[nn.Module]) -> None:
    """Give every process the parameters and buffers of the first."""
    if count() > 1:
        for module in modules:
            for tensor in module.state_dict().values():
                whole = tensor.contiguous()
                distributed.broadcast(whole, 0)
                tensor.copy_(whole)


def total(values: Tensor) -> Tensor:
    """The sum over all processes."""
    if count() > 1:
        values = values.clone()
        distributed.all_reduce(values)
    return values


def any_of(flag: bool, device: str) -> bool:
    """Whether it holds in any process."""
    return bool(total(torch.tensor(float(flag), device=device))) if count() > 1 else flag


def everyone(value: Any) -> list[Any]:
    """What each process gives, by rank."""
    values = [value] * count()
    if count() > 1:
        distributed.all_gather_object(values, value)
    return values


def wait() -> None:
    """Until all processes are here."""
    if count() > 1:
        distributed.barrier()
