"""What an audit makes of the answers of a model: readings, verdicts, drops and counts, on answers made by hand."""

import json
import math

import numpy as np
import pytest
import torch

from psic_cli.evaluation.audit import Audited, Verdict, audit, count, losses, make_reader, was_trained_against
from psic_cli.evaluation.audit_text import outcome, percent, sentence, to_json, to_text
from psic_cli.vlp.imagenet import imagenet_classes

LABELS = [f"label {number}" for number in range(12)]


class ScriptedModel:
    """Sees in a picture the number of its first red value, and finds labels the more similar the nearer their number.

    Embeddings are points on a half circle, so that every cosine is known.
    """

    name = "scripted"
    logit_scale = 20.0

    def encode_image(self, pictures):
        return self._place((pictures[:, 0, 0, 0] * 255).round())

    def encode_text(self, texts):
        return self._place(torch.tensor([float("".join(c for c in text if c.isdigit())) for text in texts]))

    def _place(self, numbers):
        angles = numbers * math.pi / 24
        return torch.stack([angles.cos(), angles.sin()], dim=1)


def showing(number):
    """A picture in which the scripted model sees a number."""
    return np.full((4, 6, 3), number, np.uint8)


def read(protected, full=3, original=3, labels=LABELS, captions=()):
    numbers = {"original": original, "protected": protected, "full": full}
    versions = {name: showing(number) for name, number in numbers.items() if number is not None}
    return audit(versions, make_reader(ScriptedModel(), labels, captions))


def test_the_first_labels_come_with_probabilities_and_similarities():
    reading = read(protected=7).reading("original")
    assert [choice.label for choice in reading.top[:1]] == ["label 3"]
    assert {choice.label for choice in reading.top[1:3]} == {"label 2", "label 4"}
    assert [choice.rank for choice in reading.top] == [1, 2, 3, 4, 5]
    assert reading.top[0].similarity == pytest.approx(1, abs=1e-6)
    assert reading.top[1].similarity == pytest.approx(math.cos(math.pi / 24), abs=1e-6)
    scores = [math.exp(20 * math.cos((number - 3) * math.pi / 24)) for number in range(12)]
    assert reading.top[0].probability == pytest.approx(scores[3] / sum(scores), rel=1e-4)


@pytest.mark.parametrize(
    ("protected", "verdict"),
    [(3, Verdict.STILL_READ), (4, Verdict.PARTLY_MISREAD), (5, Verdict.PARTLY_MISREAD), (9, Verdict.MISREAD)],
)
def test_the_verdict_follows_the_rank_of_the_originals_label(protected, verdict):
    found = read(protected)
    assert found.reading("protected").verdict is verdict
    assert found.reading("full").verdict is Verdict.STILL_READ
    assert found.reading("original").verdict is None


def test_of_few_labels_only_the_first_half_counts_as_read():
    assert read(4, labels=LABELS[2:5]).reading("protected").verdict is Verdict.MISREAD
    assert read(4, labels=LABELS[:6]).reading("protected").verdict is Verdict.PARTLY_MISREAD


def test_the_drop_is_what_the_originals_label_lost():
    reading = read(protected=9, captions=["caption 3", "caption 9"]).reading("protected")
    assert reading.reference_label.label == "label 3"
    assert reading.similarity_drop == pytest.approx(1 - math.cos(6 * math.pi / 24), abs=1e-6)
    assert 0 < reading.probability_drop < 1
    assert reading.likeness == pytest.approx(math.cos(6 * math.pi / 24), abs=1e-6)
    lost, gained = reading.captions
    assert lost.drop == pytest.approx(1 - math.cos(6 * math.pi / 24), abs=1e-6)
    assert gained.drop == pytest.approx(-lost.drop, abs=1e-6)
    assert gained.similarity == pytest.approx(1, abs=1e-6)


def test_without_an_original_the_full_version_is_the_reference():
    found = read(protected=9, original=None)
    assert found.reference == "full"
    assert found.reading("full").verdict is None
    assert found.reading("protected").verdict is Verdict.MISREAD


def test_the_protected_version_alone_gets_no_verdict():
    found = read(protected=9, full=None, original=None)
    reading = found.reading("protected")
    assert found.reference is reading.verdict is reading.likeness is reading.probability_drop is None
    assert sentence(found) == f"protected read as label 9 ({percent(reading.top[0].probability)}); " + (
        "nothing to compare it with"
    )


def test_a_label_that_fell_behind_is_shown_with_its_rank():
    found = read(protected=9)
    choices = found.choices("protected")
    assert len(choices) == 6
    assert (choices[-1].label, choices[-1].rank > 5) == ("label 3", True)
    assert len(found.choices("full")) == 5
    assert f"label 3 fell to rank {choices[-1].rank}" in outcome(found.reading("protected"))


def test_a_model_without_a_firm_reading_of_the_original_is_said_to_waver():
    far_apart = ["label 0", "label 8"]
    assert not read(3, labels=far_apart, original=0).wavers
    assert read(3, labels=far_apart, original=4).wavers
    assert "it wavers over the original" in sentence(read(3, labels=far_apart, original=4))


def test_labels_of_ones_own_are_read_whole_and_classes_by_their_first_name():
    heard: list[str] = []

    class Listening(ScriptedModel):
        def encode_text(self, texts):
            heard[:] = texts
            return self._place(torch.arange(len(texts)))

    make_reader(Listening(), ["cup, white", "spoon"])
    assert heard == ["a photo of a cup, white.", "a photo of a spoon."]
    assert make_reader(Listening()).labels == imagenet_classes()
    assert heard[0] == "a photo of a tench."
    assert len(heard) == 1000


def test_classes_that_a_model_brings_along_are_taken_as_they_are():
    class Knowing(ScriptedModel):
        class_text = 3 * torch.eye(1000)[:, :2]

    reader = make_reader(Knowing())
    assert torch.allclose(reader.label_embeddings[0], torch.tensor([1.0, 0.0]))


def test_equal_versions_lose_nothing():
    versions = {"original": showing(3), "protected": showing(3), "full": showing(4)}
    assert losses(versions) == {"protected": 100.0, "full": pytest.approx(48.13, abs=0.01)}
    assert losses({"protected": showing(3), "full": showing(4)}) == {}


@pytest.mark.parametrize(
    ("surrogates", "model", "expected"),
    [
        (["witness:lite0"], "witness:lite0", True),
        (["witness:../vlp/witness-lite0.safetensors"], "witness:lite0", True),
        (["witness:lite0"], "witness:lite2", False),
        (["witness:lite0"], "open_clip:lite0", False),
        (["open_clip:RN50:openai"], "open_clip:RN50:openai", True),
        ([], "witness:lite0", False),
        (None, "witness:lite0", None),
    ],
)
def test_the_card_tells_what_the_shield_was_trained_against(surrogates, model, expected):
    card = {"training": {"surrogates": surrogates}} if surrogates is not None else {"training": {}}
    assert was_trained_against(model, card) is expected
    assert was_trained_against(model, {}) is was_trained_against(model, {"training": "by hand"}) is None


@pytest.fixture
def three_files():
    """One misread, one partly, one still read."""
    return [
        Audited(f"{p}.png", 6, 4, "tiny", "ab" * 8, 50, 0.5, {"protected": 30.0}, (read(p, captions=["caption 3"]),))
        for p in (9, 4, 3)
    ]


def test_verdicts_are_counted_over_files(three_files):
    protected, full = count(three_files)
    assert (protected.version, full.version) == ("protected", "full")
    assert protected.verdicts == {"still read": 1, "partly misread": 1, "misread": 1}
    assert full.verdicts == {"still read": 3, "partly misread": 0, "misread": 0}
    assert protected.files == 3


def test_tables_show_every_file_and_a_summary(three_files):
    text = to_text(three_files)
    for words in ("9.png  6 x 4, quality 50", "30.0 dB", "label 3 fell to rank", "caption 3", "3 files"):
        assert words in text
    assert "protected: misread in 1 of 3, partly in 1, still read in 1" in text
    assert "no record of whether the shield was trained against it" in text
    assert max(map(len, text.splitlines())) <= 120


def test_json_spells_everything_out(three_files):
    data = json.loads(to_json({"psic": "0"}, three_files, ["x: broken"]))
    reading = data["files"][0]["audits"][0]["readings"][1]
    assert reading["verdict"] == "misread"
    assert len(reading["top"]) == 5
    assert set(reading["captions"][0]) == {"caption", "similarity", "drop"}
    assert data["summary"][0]["verdicts"]["misread"] == 1
    assert data["failures"] == ["x: broken"]
    assert data["about"] == {"psic": "0"}
