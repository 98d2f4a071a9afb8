#!/usr/bin/env bash
# Seen with pytorch-msssim 1.0.0, torch 2.14.1 and numpy 2.4.6.
#
# One would have guessed: ssim(X, Y, data_range=255) of two pictures of 8 bits, as they are decoded, is the same as
# after .float(), or is refused, as F.conv2d refuses uint8 with a window of float32.
# What happens:
# 1. On a CPU, ssim of any two tensors of integers is exactly 1, black against white included, for uint8, int32 and
#    int64. The window is cast to the type of the pictures, where each of its weights, all below 1, becomes 0. Nothing
#    is said.
# 2. ms_ssim of int64, which torch.tensor makes of Python's integers, is 1 too. uint8 and int32 are refused, but only
#    because the pooling between its scales has no kernel for them.
# 3. bfloat16 is taken as well, and hides what is slightly wrong: 1.0 where float32 gives 0.989.
#
# Needs: bash, a Python 3 that torch 2.14.1 supports, pip's usual source of packages. Exits 0 while it is so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check install --quiet --no-compile \
    pytorch-msssim==1.0.0 torch==2.14.1 numpy==2.4.6
venv/bin/python -m pip --disable-pip-version-check freeze | grep -E '^(pytorch-msssim|torch|numpy)=='
venv/bin/python -I -W error - <<'PYTHON'
import sys

import torch
from pytorch_msssim import ms_ssim, ssim

torch.manual_seed(0)
same = True


def seen(text, expected):
    global same
    same &= bool(expected)
    print(" ", text, "" if expected else "   <-- CHANGED")


def index(function, one, other, dtype):
    """The value to 4 digits, or the name of the error"""
    try:
        return round(float(function(one.to(dtype), other.to(dtype), data_range=255)), 4)
    except (NotImplementedError, RuntimeError) as error:
        return type(error).__name__


coarse = torch.rand(1, 3, 24, 24)
picture = torch.nn.functional.interpolate(coarse, size=(192, 192), mode="bicubic").clamp(0, 1).mul(255).round()
pairs = {
    f"noise of {noise} levels": (picture, (picture + noise * torch.randn_like(picture)).round().clamp(0, 255))
    for noise in (3, 30)
}
pairs["black and white"] = torch.zeros_like(picture), torch.full_like(picture, 255)
for about, (one, other) in pairs.items():
    print(about)
    true = index(ssim, one, other, torch.float32), index(ms_ssim, one, other, torch.float32)
    seen(f"float32: ssim {true[0]}, ms_ssim {true[1]}", max(true) < 0.9999)
    for dtype in (torch.uint8, torch.int32, torch.int64):
        found = index(ssim, one, other, dtype), index(ms_ssim, one, other, dtype)
        wanted = 1.0 if dtype == torch.int64 else "NotImplementedError"
        seen(f"{str(dtype)[6:]}: ssim {found[0]}, ms_ssim {found[1]}", found == (1.0, wanted))
one, other = pairs["noise of 3 levels"]
exact, short = (index(ssim, one, other, dtype) for dtype in (torch.float32, torch.bfloat16))
print("noise of 3 levels")
seen(f"ssim: float32 {exact}, bfloat16 {short}", short > exact + 0.005)
sys.exit(0 if same else 1)
PYTHON
