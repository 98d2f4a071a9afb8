#!/usr/bin/env bash
# Seen with compressai 1.2.8, torch 2.14.1 and numpy 1.26.4.
#
# One would have guessed: EntropyBottleneckVbr.forward(z, qs=step), the entropy model of z in CompressAI's variable-rate
# networks, tells what z costs when it is rounded to multiples of that step, as its compress(z, qs=step) codes it, and
# learns its density from that; and Gain, a parameter of these networks with requires_grad=True, is learned too.
# What happens:
# 1. z is rounded to multiples of the step, but its likelihood is that of an interval of width 1, whatever the step: with
#    a step of 2 the likelihoods of all values together are 0.5, and the estimate is a bit too high for each symbol. The
#    files are smaller than it, here by 15 %. Without qs they are 4 % larger, which is the coder's own loss.
# 2. With a step, no parameter of the density gets a gradient; without one, all do. (The step is handed on by position, and
#    is taken for stop_gradient. Nothing is said.) So ScaleHyperpriorVbr and MeanScaleHyperpriorVbr with
#    vr_entbttlnck=True never fit z's density in their stage 2, the one that trains for all rates.
# 3. Gain gets no gradient in either stage: an optimiser leaves it at the numbers that the constructor gives it.
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

import torch
from compressai.entropy_models.entropy_models_vbr import EntropyBottleneckVbr
from compressai.models.vbr import MeanScaleHyperpriorVbr, ScaleHyperpriorVbr

torch.manual_seed(0)
same = True


def seen(text, expected):
    global same
    same &= bool(expected)
    print(" ", text, "" if expected else "   <-- CHANGED")


def bits(likelihoods):
    return -likelihoods.log2().sum()


def trained(module, prefix=""):
    named = [(name, value) for name, value in module.named_parameters() if name.startswith(prefix)]
    return sum(value.grad is not None and bool(value.grad.any()) for _, value in named), len(named)


density = EntropyBottleneckVbr(4).eval()
step, z = torch.tensor(2.0), 6 * torch.randn(1, 4, 32, 32)
for qs, tables, expected in ((None, density.update, 1.0), (step, density.update_variable, 0.5)):
    width = 1.0 if qs is None else float(qs)
    everything = density._get_medians().detach().view(1, 4, 1) + width * torch.arange(-300.0, 301)
    options = {} if qs is None else {"qs": qs}
    tables(force=True, **options)
    with torch.no_grad():
        rounded, likelihoods = density(everything, **options)
        total = float(likelihoods.sum(-1).mean())
        estimate = float(bits(density(z, **options)[1])) / 8
    assert torch.allclose(rounded, everything)
    size = len(density.compress(z, **options)[0])
    seen(f"qs {qs}: the likelihoods of all values sum up to {total:.3f}", abs(total - expected) < 0.01)
    fits = 0.98 < size / estimate < 1.05 if qs is None else size < 0.9 * estimate
    seen(f"qs {qs}: {z.numel()} symbols, estimated {estimate:.0f} bytes, coded {size}", fits)

density.train()
for qs in (None, step):
    density.zero_grad()
    bits(density(z.clone().requires_grad_(), **({} if qs is None else {"qs": qs}))[1]).backward()
    got, _ = trained(density)
    seen(f"qs {qs}: {got} tensors of the density get a gradient", got == (14 if qs is None else 0))

for network in (ScaleHyperpriorVbr, MeanScaleHyperpriorVbr):
    for stage in (1, 2):
        made = network(8, 12, vr_entbttlnck=True).train()
        given = made(torch.rand(1, 3, 64, 64), stage=stage, s=3)
        (sum(map(bits, given["likelihoods"].values())) + given["x_hat"].square().sum()).backward()
        analysis, of_z, gain = (trained(made, name)[0] for name in ("g_a", "entropy_bottleneck", "Gain"))
        seen(
            f"{network.__name__}, stage {stage}, requires_grad of Gain {made.Gain.requires_grad}: "
            f"tensors that get a gradient: {analysis} of g_a, {of_z} of z's density, {gain} of Gain",
            analysis and made.Gain.requires_grad and gain == 0 and of_z == (14 if stage == 1 else 0),
        )
sys.exit(0 if same else 1)
PYTHON
