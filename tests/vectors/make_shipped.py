"""Files of the shipped model, frozen: `python -m tests.vectors.make_shipped` makes them anew, when the model is a new
one.

manifest.json holds for each its size, the hashes of its symbols, and what it comes to: PSNR in both versions and the
likeness that a witness sees between each and the original.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from psic_cli import codec, zoo
from psic_cli.picture import Picture, Pixels

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "psic-base"
SECRET = bytes(range(32))
QUALITIES = (1, 50)


def original() -> Pixels:
    """160 x 128 pixels of the sample photo."""
    with Image.open(ROOT / "sample_images" / "coffee.png") as image:
        return np.array(image.convert("RGB"))[100:228, 180:340]


def main() -> None:
    model, manifest = zoo.load(zoo.DEFAULT_MODEL, precision="float32"), {}
    for quality in QUALITIES:
        data = codec.encode(Picture(original()), SECRET, model=model, quality=quality)
        name = f"quality-{quality}.psic"
        (FOLDER / name).write_bytes(data)
        manifest[name] = {
            "bytes": len(data),
            "weights": model.card.weights_hash.hex(),
            "symbols": codec.symbols_hash(data, SECRET),
        }
    (FOLDER / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    main()
