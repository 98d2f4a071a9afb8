#!/usr/bin/env bash
# Seen with open_clip_torch 3.3.0 and torch 2.14.1.
#
# One would have guessed: forward_intermediates(indices=[1], stop_early=True) of a ResNet tower of CLIP stops behind the
# last stage that was asked for, as its docstring and the transformer towers do, and by default (False) all stages run.
# What happens is the opposite, for ModifiedResNet (RN50 to RN50x64) alone:
# 1. stop_early=True computes every stage, the same as was to be spared.
# 2. The default, False, leaves out the stages behind the last index. Unless intermediates_only is set, the pooling then
#    gets a map of too few channels: RuntimeError on sizes of tensors, for valid input and default arguments.
# 3. VisionTransformer does what it says: True runs the asked blocks alone.
# The intermediate maps themselves are right either way.
#
# Needs: bash, a Python 3 that torch 2.14.1 supports, pip's usual source of packages. Exits 0 while it is so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check install --quiet \
    open_clip_torch==3.3.0 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6
venv/bin/python -m pip --disable-pip-version-check freeze | grep -E '^(open_clip_torch|torch|torchvision|numpy)=='
venv/bin/python -I - <<'PYTHON'
import sys

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer

torch.manual_seed(0)
picture = torch.zeros(1, 3, 64, 64)
resnet = ModifiedResNet(layers=(1, 1, 1, 1), output_dim=32, heads=4, image_size=64, width=8).eval()
transformer = VisionTransformer(64, 16, width=32, layers=4, heads=2, mlp_ratio=4, output_dim=16).eval()
parts = {
    resnet: {name: getattr(resnet, name) for name in ("layer1", "layer2", "layer3", "layer4", "attnpool")},
    transformer: {f"block{i}": block for i, block in enumerate(transformer.transformer.resblocks)},
}
same = True


def run(tower, **options):
    """Which parts ran, what came out or the error's type, and the first map"""
    ran = []
    hooks = [
        part.register_forward_hook(lambda *_, name=name: ran.append(name)) for name, part in parts[tower].items()
    ]
    try:
        out = tower.forward_intermediates(picture, indices=[1], **options)
        found, first = sorted(out), out["image_intermediates"][0]
    except RuntimeError as error:
        found, first = f"RuntimeError: {str(error)[:60]}...", None
    for hook in hooks:
        hook.remove()
    return ran, found, first


def seen(text, result, expected):
    global same
    same &= bool(expected)
    print(f"{text}: ran {result[0]}, gave {result[1]}", "" if expected else "   <-- CHANGED")


early = run(resnet, stop_early=True, intermediates_only=True)
whole = run(resnet, stop_early=False, intermediates_only=True)
default = run(resnet)
seen("ResNet, stop_early=True, maps only", early, early[0] == ["layer1", "layer2", "layer3", "layer4"])
seen("ResNet, stop_early=False, maps only", whole, whole[0] == ["layer1"])
seen("ResNet, all defaults", default, default[0] == ["layer1"] and default[2] is None)
equal = torch.equal(early[2], whole[2])
print("equal maps", equal)
early, whole = (run(transformer, stop_early=value, intermediates_only=True) for value in (True, False))
seen("transformer, stop_early=True, maps only", early, early[0] == ["block0", "block1"])
seen("transformer, stop_early=False, maps only", whole, whole[0] == ["block0", "block1", "block2", "block3"])
sys.exit(0 if same and equal else 1)
PYTHON
