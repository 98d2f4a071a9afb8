"""A process of test_exactness.py: decodes every frozen file's integers in a setting of its own, prints them as JSON."""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from psic_cli import codec, keys, zoo

VECTORS = Path(__file__).parent / "vectors"


@torch.inference_mode()
def predictions(model: zoo.Model) -> str:
    """A hash of means and table indexes for a z large enough (1536 x 1280 pixels) that threads share the work."""
    channels = model.network.hyper_latents
    values = torch.arange(channels * 24 * 20, dtype=torch.float64).reshape(1, channels, 24, 20)
    z = (values * 7919 % 255 - 127).to(model.device, model.choose_integers())
    digest = hashlib.sha256()
    for level in (0, 31, 63):
        first = model.network.predict(z, torch.tensor([level], device=model.device))
        symbols = torch.arange(first.mean.numel(), device=model.device).reshape(first.mean.shape) * 31 % 199 - 99
        steps = [first]
        for step in range(1, model.network.steps):
            steps.append(model.network.refine(steps[-1], symbols, step))
        for part in (part for prediction in steps for part in (prediction.mean, prediction.index)):
            digest.update(part.cpu().to(torch.int32).numpy().astype("<i4").tobytes())
    return digest.hexdigest()


def integers_of_all_vectors(device: str) -> dict[str, Any]:
    secret = keys.read_key_file(VECTORS / "owner-key.bin")
    found: dict[str, Any] = {}
    for integers in ("float64", "float32", "int32"):
        for path in sorted((VECTORS / "files").glob("*.psic")):
            hashes = codec.symbols_hash(path.read_bytes(), secret, device=device, integers=integers)
            found[f"{path.stem} {integers}"] = hashes
        found[f"predictions {integers}"] = predictions(zoo.load("tiny", device=device, integers=integers))
    return found


def main() -> str:
    parser = argparse.ArgumentParser()
    parser.add_argument("--without-mkldnn", action="store_true")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    os.environ["PSIC_MODELS"] = str(VECTORS / "models")
    if arguments.without_mkldnn:
        torch.backends.mkldnn.set_flags(_enabled=False)
    setting = {
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "mkldnn": bool(torch.backends.mkldnn.enabled),
    }
    return json.dumps({"setting": setting, "integers": integers_of_all_vectors(arguments.device)})


if __name__ == "__main__":
    sys.stdout.write(main())
