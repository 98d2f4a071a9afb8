#!/usr/bin/env bash
# Seen with hdf5plugin 7.1.0, h5py 3.16.0 and numpy 2.4.6.
#
# One would have guessed: SZ3(norm2=N) keeps the root of the sum of squared errors of a chunk below N, and
# SZ3(peak_signal_to_noise_ratio=P) comes out near P decibels. The package warns of the second ("Only absolute and norm2
# modes properly tested"), so the first is the safe one.
# What happens:
# 1. norm2 has no effect: for 0.01, 0.1 and 1 alike the file has the same 241 bytes, and the error is 41, four thousand
#    times the bound of 0.01, and more than if every pixel were the mean of the picture. There is no warning.
# 2. peak_signal_to_noise_ratio is lossless, whatever the number.
# 3. Both work, within half a decibel, when the same filter gets the numbers of the two modes the other way round: SZ3
#    counts PSNR as mode 2 and norm as 3, the package the norm as 2 and PSNR as 3. So a norm asks for 0 dB, and a PSNR
#    for a norm of 0. absolute= (mode 0) and relative= (1) are right.
# 4. hdf5plugin.from_filter_options reads such a file as SZ3(norm2=0.01): the file itself says that the bound was kept.
#
# Needs: bash, a Python 3 that numpy 2.4.6 supports, pip's usual source of packages. Exits 0 while it is so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check install --quiet hdf5plugin==7.1.0 h5py==3.16.0 numpy==2.4.6
venv/bin/python -m pip --disable-pip-version-check freeze
venv/bin/python -I - <<'PYTHON'
import io
import logging
import struct
import sys

import h5py
import hdf5plugin
import numpy as np
from hdf5plugin import SZ3

same, warnings = True, []
handler = logging.Handler(logging.WARNING)
handler.emit = lambda record: warnings.append(record.getMessage())
logging.getLogger().addHandler(handler)
row, column = np.mgrid[:96, :128]
noise = np.random.default_rng(0).normal(0, 0.03, row.shape)
picture = (0.5 + 0.3 * np.sin(column / 9) + 0.1 * np.cos(row / 5) + noise).astype(np.float32)
extent = float(np.ptp(picture))


def seen(text, expected):
    global same
    same &= bool(expected)
    print(" ", text, "" if expected else "   <-- CHANGED")


def coded(options):
    """Bytes, root of the sum of squared errors, PSNR in dB for the extent of the values, and the filter's options"""
    file = io.BytesIO()
    with h5py.File(file, "w") as group:
        group.create_dataset("picture", data=picture, chunks=picture.shape, **options)
    with h5py.File(file, "r") as group:
        data = group["picture"]
        identity, _, stored, _ = data.id.get_create_plist().get_filter(0)
        error = np.linalg.norm(data[()].astype(float) - picture)
        psnr = 20 * np.log10(extent * np.sqrt(picture.size) / error) if error else np.inf
        return data.id.get_storage_size(), float(error), float(psnr), hdf5plugin.from_filter_options(identity, stored)


def other_way_round(norm2=0.0, psnr=0.0):
    """The filter's nine options: mode; absolute, relative, norm and PSNR as two 32-bit words each"""
    words = struct.unpack(">8I", struct.pack(">4d", 0, 0, norm2, psnr))
    return {"compression": SZ3.filter_id, "compression_opts": (3 if norm2 else 2, *words)}


mean = float(np.linalg.norm(picture - picture.mean()))
print(f"every pixel the mean of the picture: error {mean:.1f}")
print("1. norm2, 4. as it is read back")
sizes = set()
for bound in (0.01, 0.1, 1.0):
    warnings.clear()
    size, error, psnr, read = coded(SZ3(norm2=bound))
    sizes.add(size)
    seen(f"norm2={bound}: {size} bytes, error {error:.4f}, {psnr:.1f} dB, reads as {read}, {len(warnings)} warnings",
         error > mean > 10 * bound and str(read) == f"SZ3(norm2={bound})" and not warnings)
seen(f"one size for all: {sizes}", len(sizes) == 1)
print("2. peak_signal_to_noise_ratio")
for wanted in (40, 60):
    warnings.clear()
    size, error, _, _ = coded(SZ3(peak_signal_to_noise_ratio=wanted))
    seen(f"{wanted} dB: {size} bytes, error {error}; warns: {warnings[0]}", error == 0 and "norm2" in warnings[0])
print("3. the modes the other way round")
for bound in (0.01, 0.1, 1.0):
    size, error, _, _ = coded(other_way_round(norm2=bound))
    seen(f"norm of {bound}: {size} bytes, error {error:.4f}", 0.8 * bound < error <= bound)
for wanted in (40, 60):
    size, _, psnr, _ = coded(other_way_round(psnr=wanted))
    seen(f"PSNR of {wanted} dB: {size} bytes, {psnr:.2f} dB", wanted <= psnr < wanted + 0.8)
for name, options, bound in (("absolute", SZ3(absolute=0.01), 0.01), ("relative", SZ3(relative=0.01), 0.01 * extent)):
    size, error, _, _ = coded(options)
    seen(f"{name}=0.01: {size} bytes, error {error:.4f}", 0 < error < bound * np.sqrt(picture.size))
print("as recorded" if same else "THE BEHAVIOUR HAS CHANGED")
sys.exit(not same)
PYTHON
