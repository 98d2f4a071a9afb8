#!/usr/bin/env bash
# Seen with compressai 1.2.8, torch 2.14.1 and numpy 1.26.4.
#
# One would have guessed: NETWORK.from_state_dict(net.state_dict()) gives back any network that its constructor made,
# as it does for the hyperpriors, whose N and M it reads from the shapes of tensors. And load_state_dict(strict=False)
# passes over what a checkpoint lacks.
# What happens:
# 1. Elic2022Official and Elic2022Chandelier read N alone. M and groups are the constructor's defaults (320 and
#    16, 16, 32, 64, 192), so a network with others is refused with a RuntimeError that lists missing keys and shapes,
#    although its checkpoint is whole. ScaleHyperprior with N 8, M 12 comes back.
# 2. load_state_dict without the entropy bottleneck's tables, which update() makes anew anyway, is a KeyError, and
#    strict=False changes nothing.
#
# Needs: bash, a Python 3 that compressai 1.2.8 has a wheel for (3.9 to 3.12), pip's usual source of packages.
# Exits 0 while it is so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check install --quiet \
    compressai==1.2.8 torch==2.14.1 torchvision==0.29.1 numpy==1.26.4
venv/bin/python -m pip --disable-pip-version-check freeze | grep -E '^(compressai|torch|numpy)=='
venv/bin/python -I -W ignore - <<'PYTHON'
import sys

from compressai.models import Elic2022Chandelier, Elic2022Official, ScaleHyperprior

same = True


def seen(text, expected):
    global same
    same &= bool(expected)
    print(" ", text, "" if expected else "   <-- CHANGED")


def error_of(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:90]}"
    return "none"


small = ScaleHyperprior(8, 12)
found = error_of(ScaleHyperprior.from_state_dict, small.state_dict())
seen(f"ScaleHyperprior, N 8, M 12: {found}", found == "none")
for network in (Elic2022Official, Elic2022Chandelier):
    made = network(N=8, M=320)
    found = error_of(network.from_state_dict, made.state_dict())
    seen(f"{network.__name__}, N 8, M and groups as they are by default: {found}", found == "none")
    made = network(N=8, M=40, groups=[8, 8, 24])
    found = error_of(network.from_state_dict, made.state_dict())
    seen(f"{network.__name__}, N 8, M 40, groups 8, 8, 24: {found}", found.startswith("RuntimeError"))
    found = error_of(network(N=8, M=40, groups=[8, 8, 24]).load_state_dict, made.state_dict())
    seen(f"the same into a network made with these numbers: {found}", found == "none")
small.update()
without = {key: value for key, value in small.state_dict().items() if "quantized_cdf" not in key}
for strict in (True, False):
    found = error_of(ScaleHyperprior(8, 12).load_state_dict, without, strict=strict)
    seen(f"load_state_dict without tables, strict={strict}: {found}", found.startswith("KeyError"))
sys.exit(0 if same else 1)
PYTHON
