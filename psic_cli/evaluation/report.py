"""Everything that one run measured, as JSON; tables.py has it for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from psic_cli.evaluation.agreement import Agreement
from psic_cli.evaluation.robustness import AttackMatrix
from psic_cli.evaluation.runs import RateDistortion
from psic_cli.evaluation.shielding import Classification, ImageTextRetrieval


@dataclass
class Results:
    """Everything one `psic evaluate` measured; a part that was not asked for is None.

    about: versions, models and options that it was measured with. failures: a line for each picture that was left out.
    """

    about: dict[str, object]
    rate_distortion: RateDistortion | None = None
    classification: Classification | None = None
    retrieval: ImageTextRetrieval | None = None
    attacks: AttackMatrix | None = None
    agreement: list[Agreement] | None = None
    failures: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether no part is finished."""
        return not (self.rate_distortion or self.classification or self.retrieval or self.agreement)


def to_json(results: Results) -> str:
    """All figures, those of single pictures too. Intervals are {"value", "low", "high"}; what is unknown is null.

    about: command (a line for a shell), psic, code (a hash over the sources that figures come from), python, platform,
        packages {name: version}, device, precision, model, weights_hash, weights_sha256, qualities,
        vlps and unseen: [{name, spec, sha256}], the hash being over the weights as they are loaded, not over a file.
    rate_distortion: summaries, pictures, peers, bd_rates, notes.
    classification: versions (bpp and PSNR), zero_shot (a row for each vision-language model, version and quality),
        unseen (the same for plain classifiers), machine (full against machine version: model, quality, bpp, full,
        machine, gain), kinds (null, or names, chance and zero_shot, of the pictures whose class has a kind).
    retrieval: versions, retrieval.
    attacks: attacks {name: what it does}, outcomes [{task, model, quality, attack, pictures, original, protected, drop,
        remaining}], task being classification, image_to_text or text_to_image.
    agreement: [{model, side, version, quality, pictures, agreement}], side null for full size.
    failures: lines of text.
    """
    return json.dumps(asdict(results), indent=1, allow_nan=False) + "\n"
