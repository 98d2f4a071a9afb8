"""How much memory a large picture takes, in a process of its own, which keeps nothing from other tests."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.run import ROOT, child_environment

ROWS = 3072, 9216  # of pictures 1024 pixels wide: the first one has all that strips need
MOST = {"encode": 20, "decode": 20}  # bytes for each pixel more, 3 of them the picture's. One float of each has 12
# Peaks in bytes, of one picture after the other. The model is so small that its latents do not count
PEAKS = """
import resource, sys
from pathlib import Path

import numpy as np
from PIL import Image

from psic_cli import codec, zoo
from psic_cli.networks import strips
from psic_cli.picture import Picture

strips.STRIP_CELLS = 2**11  # half a megapixel
step, photo, folder = sys.argv[1:]
with Image.open(photo) as image:
    tile = np.array(image.convert("RGB"))
for rows in map(int, ROWS):
    path = Path(folder, f"{rows}.psic")
    if step == "encode":
        rgb = np.tile(tile, (24, 2, 1))[:rows, :1024]
        path.write_bytes(codec.encode(Picture(rgb), bytes(32), model=zoo.load("tiny"), effort=0))
    else:
        codec.decode(path.read_bytes(), bytes(32), version=codec.Version.FULL)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory otherwise")
def test_memory_does_not_grow_by_floats_for_all_pixels_of_a_picture(tiny_models, tmp_path: Path):
    for step, most in MOST.items():
        words = ["-c", PEAKS.replace("ROWS", repr(ROWS)), step, ROOT / "sample_images" / "coffee.png", tmp_path]
        done = subprocess.run(
            [sys.executable, *map(str, words)], capture_output=True, text=True, env=child_environment(), check=True
        )
        small, large = map(int, done.stdout.split())
        assert (large - small) / (1024 * (ROWS[1] - ROWS[0])) < most, step
