"""Results as `psic evaluate` writes them, made up, with every part that a page can show."""

import json

import numpy as np
import pytest

from psic_cli.evaluation import report, runs, shielding
from psic_cli.evaluation.agreement import Agreement
from psic_cli.evaluation.bd_rate import BdRate
from psic_cli.evaluation.classification import MachineGain, ZeroShot
from psic_cli.evaluation.kinds import CoarseMeaning
from psic_cli.evaluation.metrics import Interval
from psic_cli.evaluation.rate_distortion import Measured, Summary
from psic_cli.evaluation.retrieval import Retrieval
from psic_cli.evaluation.robustness import AttackMatrix, AttackOutcome
from psic_cli.pages.base import data_uri
from psic_cli.pages.showing import ShownPicture

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>.png'
QUALITIES = (25, 50, 75)
MODELS = ("witness:lite0", "witness:lite2")
VERSIONS = {"protected": 0.35, "full": 0.8, "machine": 0.84, "keyless": 0.4}  # shares of the original's accuracy
ATTACKS = {
    "none": "nothing",
    "jpeg50": "JPEG of quality 50",
    "blur": "Gaussian blur",
    "noise": "Gaussian noise",
}


def measured(value, width=0.04):
    """A figure with an interval."""
    return Interval(value, value - width, value + width)


@pytest.fixture
def results():
    """Every part, as JSON."""
    return made_results()


@pytest.fixture
def pictures():
    """Two pictures in three versions, one with a name that attacks the page."""
    return [shown("photo.png", 1), shown(HOSTILE, 2)]


def made_results():
    classified = [_zero_shot(model, version, q) for model in MODELS for version, q in _shown()]
    found = [_retrieval(version, q) for version, q in _shown()]
    versions = [
        shielding.VersionQuality(version, q, measured(q / 80), measured(28 + q / 15))
        for q in QUALITIES
        for version in VERSIONS
        if version != "keyless"
    ]
    results = report.Results(
        about={
            "command": "psic evaluate album -o report/",
            "psic": "0.2.0",
            "python": "3.11.2",
            "platform": "Linux-6.1-x86_64",
            "packages": {"torch": "2.13.0", "pillow": "13.0.0"},
            "model": "psic-base",
            "weights_hash": "00112233aabbccdd",
            "weights_sha256": "00112233aabbccdd" * 4,
            "device": "cpu",
            "precision": "float32",
            "qualities": list(QUALITIES),
            "vlps": [{"name": model, "spec": model, "sha256": "ab" * 32} for model in MODELS],
            "unseen": [{"name": "mobilenet", "spec": "mobilenet", "sha256": "cd" * 32}],
        },
        rate_distortion=_rate_distortion(),
        classification=shielding.Classification(
            versions,
            classified,
            unseen=[_zero_shot("mobilenet", version, q) for version, q in _shown()],
            machine=[
                MachineGain(model, q, 500, measured(q / 80), measured(0.5), measured(0.53), measured(0.03, 0.02))
                for model in MODELS
                for q in QUALITIES
            ],
            kinds=CoarseMeaning(("dog", "vehicle"), 0.5, classified),
        ),
        retrieval=shielding.ImageTextRetrieval(versions, found),
        attacks=AttackMatrix(
            ATTACKS,
            [
                AttackOutcome(
                    task, model, q, attack, 500, measured(0.6), measured(0.3), measured(0.3), measured(1 - 0.3 * number)
                )
                for task in ("classification", "image_to_text")
                for model in MODELS
                for q in (25, 50)
                for number, attack in enumerate(ATTACKS)
            ],
        ),
        agreement=[
            Agreement(model, side, version, 50, 12, measured(0.6), measured(share))
            for model in MODELS
            for side in (256, 1280, None)
            for version, share in VERSIONS.items()
        ],
        failures=[f"{HOSTILE}: the picture ends too early"],
    )
    return json.loads(report.to_json(results))


def shown(name, seed):
    """A picture of 60 x 40 pixels in three versions."""
    rng = np.random.default_rng(seed)
    versions = {
        v: data_uri(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)) for v in ("original", "full", "protected")
    }
    return ShownPicture(name, 60, 40, 50, 0.55, versions, {"full": 31.9, "protected": 31.3})


def _shown():
    return [("original", None), *((version, quality) for quality in QUALITIES for version in VERSIONS)]


def _rate_distortion():
    names = [f"kodim{number:02d}.png" for number in range(1, 25)]  # so that published curves are drawn
    summaries, rows = [], []
    for quality in QUALITIES:
        bpp = 0.1 + quality / 90
        psnr = {"full": 28 + quality / 15, "protected": 27.8 + quality / 18}
        similar: dict[str, float] = {"full": 0.93 + quality / 2000, "protected": 0.925 + quality / 2000}
        rows += [Measured(name, quality, bpp, psnr, dict(similar), 0.3, 0.2) for name in names]
        summaries.append(
            Summary(
                quality=quality,
                pictures=len(names),
                bpp=measured(bpp),
                psnr={version: measured(value, 0.6) for version, value in psnr.items()},
                ms_ssim={version: measured(value, 0.004) for version, value in similar.items()},
                encode_seconds=0.3,
                decode_seconds=0.2,
            )
        )
    peers = [
        runs.PeerSummary(
            peer, {"quality": q}, measured(0.2 + q / 100), measured(27 + q / 12 + plus), measured(0.9 + q / 1000)
        )
        for peer, plus in (("jpeg", 0), ("webp", 1.5))
        for q in (20, 40, 60, 300)
    ]
    bd_rates = [BdRate("jpeg", measured(-37.2, 4), 28, 34.5, 0.97), BdRate("VTM (published)", measured(80), 28, 34, 1)]
    return runs.RateDistortion(summaries, peers, bd_rates, ["no BD-rate against x"], rows)


def _zero_shot(model, version, quality):
    share = VERSIONS.get(version, 1.0)
    return ZeroShot(
        model=model,
        version=version,
        quality=quality,
        pictures=500,
        top1=measured(0.6 * share + (quality or 0) / 1000),
        top5=measured(0.8 * share),
        kept=measured(share),
        agreement=measured(share),
        attack_success=measured(1 - share) if version not in ("original", "full") else None,
    )


def _retrieval(version, quality):
    share = VERSIONS.get(version, 1.0)
    recalls = {f"r{depth}": measured(share * at) for depth, at in ((1, 0.24), (5, 0.5), (10, 0.66))}
    missed = measured(0.5) if version not in ("original", "full") else None
    return Retrieval("witness:lite0", version, quality, 100, 500, recalls, recalls, missed, missed)
