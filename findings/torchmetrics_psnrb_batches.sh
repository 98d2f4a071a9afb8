#!/usr/bin/env bash
# Seen with torchmetrics 1.9.0, torch 2.14.1 and numpy 2.4.6.
#
# One would have guessed: PSNRB, a PSNR that also counts the edges between blocks, does not depend on how many pictures
# are measured together. Eight times the same picture gives what one gives, as PSNR does, and measuring a folder picture
# by picture gives some mean.
# What happens:
# 1. The block effect of a batch is a sum over its pictures, the squared error a mean. Eight equal pictures of blocks
#    get 7.7 dB less than one.
# 2. PeakSignalNoiseRatioWithBlockedEffect adds up the block effects of all its updates in the same way. The more
#    pictures, the lower the number; after 1000 it tells little but how many pictures there were.
# 3. Pictures in uint8 are taken, and their differences wrap around at 256: 6.9 instead of 20.5 dB here, while PSNR of
#    the same package is right for them.
# So a codec that was measured on more pictures, or in larger batches, looks worse.
#
# Needs: bash, a Python 3 that torch 2.14.1 supports, pip's usual source of packages. Exits 0 while it is so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check install --quiet --no-compile \
    torchmetrics==1.9.0 torch==2.14.1 numpy==2.4.6
venv/bin/python -m pip --disable-pip-version-check freeze | grep -E '^(torchmetrics|torch|numpy)=='
venv/bin/python -I - <<'PYTHON'
import math
import sys

import torch
from torch.nn.functional import avg_pool2d, interpolate
from torchmetrics.functional.image import peak_signal_noise_ratio, peak_signal_noise_ratio_with_blocked_effect
from torchmetrics.image import PeakSignalNoiseRatioWithBlockedEffect

torch.manual_seed(0)
same = True


def seen(text, expected):
    global same
    same &= bool(expected)
    print(" ", text, "" if expected else "   <-- CHANGED")


def psnr(decoded, original):
    return float(peak_signal_noise_ratio(decoded, original, data_range=255.0))


def psnrb(decoded, original):
    return float(peak_signal_noise_ratio_with_blocked_effect(decoded, original, data_range=255.0))


def in_turn(count):
    metric = PeakSignalNoiseRatioWithBlockedEffect(data_range=255.0)
    for _ in range(count):
        metric.update(decoded, original)
    return float(metric.compute())


original = interpolate(torch.rand(1, 1, 6, 6), size=(128, 128), mode="bicubic").clamp(0, 1).mul(255).round()
decoded = avg_pool2d(original, 8).round().repeat_interleave(8, 2).repeat_interleave(8, 3)  # each block its mean
one, plain = psnrb(decoded, original), psnr(decoded, original)
mse, effect = (255**2 / 10 ** (value / 10) for value in (plain, one))
effect -= mse
print(f"one picture: PSNR {plain:.2f} dB, PSNRB {one:.2f} dB")
for count in (2, 8, 1000):
    turns, expected = in_turn(count), 10 * math.log10(255**2 / (mse + count * effect))
    if count < 1000:
        many = [picture.expand(count, -1, -1, -1) for picture in (decoded, original)]
        seen(f"{count} times in a batch: PSNR {psnr(*many):.2f}", abs(psnr(*many) - plain) < 0.01)
        seen(f"{count} times in a batch: PSNRB {psnrb(*many):.2f}", abs(psnrb(*many) - expected) < 0.01)
    seen(f"{count} times in turn: PSNRB {turns:.2f}", abs(turns - expected) < 0.05)
bytes_ = decoded.to(torch.uint8), original.to(torch.uint8)
seen(f"in uint8: PSNR {psnr(*bytes_):.2f}", abs(psnr(*bytes_) - plain) < 0.01)
seen(f"in uint8: PSNRB {psnrb(*bytes_):.2f}", abs(psnrb(*bytes_) - one) > 1)
sys.exit(0 if same else 1)
PYTHON
