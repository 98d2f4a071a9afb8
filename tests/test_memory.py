"""How much memory a large picture takes, in a process of its own, which keeps nothing from other tests."""

import subprocess
import sys

import pytest

from tests.cli.run import ROOT, child_environment

MOST = 10  # bytes for each pixel, 3 of them the picture's: one float for each of its values would be 12
# What two pictures take beyond what is there before, at most, in bytes for each pixel: first one that lets everything
# be loaded that stays, then a larger one. The model is so small that its latents do not count
TAKEN = """
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from psic_cli import codec, zoo
from psic_cli.networks import strips
from psic_cli.picture import Picture

strips.STRIP_CELLS = 2**10  # a quarter of a megapixel
status, peak = Path("/proc/self/status"), Path("/proc/self/clear_refs")

def bytes_of(name):
    (line,) = [line for line in status.read_text().splitlines() if line.startswith(name)]
    return 1024 * int(line.split()[1])

with Image.open(sys.argv[1]) as image:
    tile = np.array(image.convert("RGB"))  # 400 x 600
for copies in 2, 5:
    picture = Picture(np.tile(tile, (copies * 3 // 2, copies, 1)))
    for work in (
        lambda: codec.encode(picture, bytes(32), model=zoo.load("tiny"), effort=0),
        lambda: codec.decode(data, bytes(32), version=codec.Version.FULL),
    ):
        before = bytes_of("VmRSS")
        peak.write_text("5")
        done = work()
        print((bytes_of("VmHWM") - before) / picture.pixels)
        data = done
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak anew")
def test_no_float_of_each_pixel_of_a_large_picture_is_held(tiny_models):
    words = ["-c", TAKEN, ROOT / "sample_images" / "coffee.png"]
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, env=child_environment(), check=True
    )
    *_, encoding, decoding = map(float, done.stdout.split())
    assert encoding < MOST
    assert decoding < MOST
