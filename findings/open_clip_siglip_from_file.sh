#!/usr/bin/env bash
# Seen with open_clip_torch 3.3.0 and torch 2.14.1.
#
# One would have guessed: a SigLIP model made by its name, with weights that lie in a local file, prepares pictures as the
# same name and weights do by their tag: squashed to a square, mean and standard deviation 0.5. open_clip knows that of
# every tag of the name.
# What happens: with pretrained=FILE the returned transforms are CLIP's: the shorter side is resized and the middle cut
# out, and colours are normalised by CLIP's mean and deviation. The weights are loaded right and nothing is said, so
# embeddings are of other pixels than SigLIP was trained on. Who works offline has to pass image_mean, image_std and
# image_resize_mode, from open_clip.get_pretrained_cfg(name, tag).
#
# Needs: bash, a Python 3 that torch 2.14.1 supports, pip's usual source of packages, 2 GB of memory and of disk for
# weights that are drawn at random. Exits 0 while it is so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export HOME=$dir HF_HUB_OFFLINE=1 # the tokenizer is not asked for
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check install --quiet \
    open_clip_torch==3.3.0 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6
venv/bin/python -m pip --disable-pip-version-check freeze | grep -E '^(open_clip_torch|torch|torchvision|numpy)=='
venv/bin/python -I - <<'PYTHON'
import sys

import open_clip
import torch
from safetensors.torch import save_file
from torchvision.transforms import CenterCrop, Normalize

NAME, FILE = "ViT-B-16-SigLIP", "weights.safetensors"


def prepared(transform):
    """Mean, deviation, and whether the middle is cut out."""
    (normalised,) = (step for step in transform.transforms if isinstance(step, Normalize))
    cut = any(isinstance(step, CenterCrop) for step in transform.transforms)
    return tuple(normalised.mean), tuple(normalised.std), "middle cut out" if cut else "squashed"


torch.manual_seed(0)
drawn = open_clip.create_model(NAME, precision="fp16")
save_file({name: tensor.contiguous() for name, tensor in drawn.state_dict().items()}, FILE)
tags = open_clip.list_pretrained_tags_by_model(NAME)
wanted = {tuple(map(open_clip.get_pretrained_cfg(NAME, tag).get, ("mean", "std", "resize_mode"))) for tag in tags}
print("  tags", *tags, "say", *wanted)

loaded, _, transform = open_clip.create_model_and_transforms(NAME, pretrained=FILE, precision="fp16")
pairs = zip(drawn.state_dict().values(), loaded.state_dict().values(), strict=True)
equal = all(torch.equal(*pair) for pair in pairs)
print("  from a file: weights", "equal," if equal else "differ,", *prepared(transform))

named = open_clip.get_pretrained_cfg(NAME, tags[0])
options = {f"image_{name}": named[name] for name in ("mean", "std", "resize_mode")}
told = open_clip.create_model_and_transforms(NAME, pretrained=FILE, precision="fp16", **options)[2]
print("  from a file, told", options, ":", *prepared(told))

half, clip = (0.5, 0.5, 0.5), (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
as_seen = (
    wanted == {(half, half, "squash")},
    equal,
    prepared(transform) == (*map(tuple, clip), "middle cut out"),
    prepared(told) == (half, half, "squashed"),
)
print("  as seen" if all(as_seen) else f"  CHANGED: {as_seen}")
sys.exit(0 if all(as_seen) else 1)
PYTHON
