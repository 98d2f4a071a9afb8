"""A process of test_exactness.py: what every model in $PSIC_MODELS predicts, in a setting of its own, as JSON."""

import argparse
import hashlib
import json
import sys
from typing import Any

import torch

from psic_cli import zoo

CARRIERS = ("float64", "float32")


@torch.inference_mode()
def predictions(model: zoo.Model) -> str:
    """A hash of means and table indexes of all steps, at the lowest and the highest level, for a z large enough (1536 x
    1280 pixels) that threads share the work, and with the largest symbols that there are.
    """
    network, digest = model.network, hashlib.sha256()
    values = torch.arange(network.hyper_latents * 24 * 20, dtype=torch.float64)
    z = (values * 7919 % 255 - 127).reshape(1, network.hyper_latents, 24, 20)
    for number in sorted({0, network.levels - 1}):
        level = torch.tensor([number], device=model.device)
        told = network.predict(z.to(model.device, model.choose_integers()), level)
        symbols = torch.arange(told.mean.numel(), device=model.device).reshape(told.mean.shape) * 31 % 199 - 99
        symbols[..., ::7] *= 2**13
        for step in range(network.steps):
            told = network.refine(told, symbols, step) if step else told
            for part in (told.mean, told.index):
                digest.update(part.cpu().to(torch.int32).numpy().astype("<i4").tobytes())
    return digest.hexdigest()


def all_predictions(device: str) -> dict[str, str]:
    """By model and by what carries the integers."""
    return {
        f"{card.name} {integers}": predictions(zoo.load(card.name, device=device, integers=integers))
        for card in zoo.list_models()
        if card.path.parent == zoo.users_folder()
        for integers in CARRIERS
    }


def main() -> str:
    parser = argparse.ArgumentParser()
    parser.add_argument("--without-mkldnn", action="store_true")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if arguments.without_mkldnn:
        torch.backends.mkldnn.set_flags(_enabled=False)
    found: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "predictions": all_predictions(arguments.device),
    }
    return json.dumps(found)


if __name__ == "__main__":
    sys.stdout.write(main())
