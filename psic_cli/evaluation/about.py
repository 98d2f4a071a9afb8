"""What a reader must know to measure the same again: command, versions, hashes."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from psic_cli import __version__, zoo
from psic_cli.evaluation.cache import software, weights_hash
from psic_cli.evaluation.coding import Making
from psic_cli.evaluation.seeing import Seer

_NO_PACKAGES = ("psic", "code")


def about(
    model: zoo.Model, qualities: Sequence[int], vlps: Mapping[str, Seer], unseen: Mapping[str, Seer], making: Making
) -> dict[str, object]:
    """The part `about` of the results, as `report.to_json` describes it. vlps, unseen: by what they were asked for as.
    making: of the files that were measured.

    code is a hash over the part of psic's sources that figures come from.
    """
    versions = software()
    return {
        "command": shlex.join(["psic", *sys.argv[1:]]),
        "psic": __version__,
        "code": versions["code"],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name, version in versions.items() if name not in _NO_PACKAGES},
        "model": model.card.name,
        "weights_hash": model.card.weights_hash.hex(),
        "weights_sha256": model.card.sha256,
        "device": model.device,
        "precision": str(model.precision).removeprefix("torch."),
        "qualities": list(qualities),
        **asdict(making),
        "vlps": [_seer(spec, vlp) for spec, vlp in vlps.items()],
        "unseen": [_seer(spec, classifier) for spec, classifier in unseen.items()],
    }


def _seer(spec: str, seer: Seer) -> dict[str, object]:
    return {"name": seer.name, "spec": spec, "sha256": weights_hash(seer)}
