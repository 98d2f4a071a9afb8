import json

import numpy as np
import pytest
import torch

from psic_cli.errors import UsageError
from psic_cli.evaluation import agreement, attacks, report, runs, shielding, sources, tables
from psic_cli.evaluation.robustness import AttackMatrix
from psic_cli.evaluation.seeing import Experiment, Seer, named
from tests.evaluation.conftest import known, picture, save
from tests.threads import torch_threads

CLASSES = ["red", "green", "blue", "grey"]


def experiment(model, seer, *, quality=60, attack_names=None):
    chosen = attacks.find_attacks(attack_names) if attack_names else []
    seers: dict[str, Seer] = {seer.name: seer}
    return Experiment(model, [quality], seers, chosen)


def test_classification_of_the_original_and_of_all_versions(coloured, tiny_model, colour_model):
    labels = sources.read_labels(coloured / "labels.csv")
    names = sources.read_class_names(coloured / "labels.csv")
    result, attacked = shielding.measure_classification(labels, names, experiment(tiny_model, colour_model))
    by_version = {row.version: row for row in result.zero_shot}
    assert list(by_version) == ["original", "protected", "full", "machine", "keyless"]
    assert by_version["original"].top1.value == known(by_version["original"].kept).value == 1
    assert by_version["full"].top1.value == 1  # a block transform keeps the mean colour
    assert by_version["full"].attack_success is None
    assert known(by_version["protected"].attack_success).value == pytest.approx(1 - by_version["protected"].top1.value)
    assert [row.version for row in result.versions] == ["protected", "full", "machine"]
    quality = {row.version: row.psnr.value for row in result.versions}
    assert quality["protected"] < quality["full"]
    assert not attacked
    assert not result.unseen


def test_figures_do_not_depend_on_how_many_pictures_are_in_work_at_the_same_time(coloured, tiny_model, colour_model):
    labels = sources.read_labels(coloured / "labels.csv")
    found = []
    for threads in (1, 3):
        with torch_threads(threads):
            found.append(shielding.measure_classification(labels, CLASSES, experiment(tiny_model, colour_model)))
            assert torch.get_num_threads() == threads
    assert found[0] == found[1]


def test_the_machine_version_stands_beside_the_full_one_with_its_bytes(coloured, tiny_model, colour_model):
    labels = sources.read_labels(coloured / "labels.csv")
    result, _ = shielding.measure_classification(labels, CLASSES, experiment(tiny_model, colour_model))
    (row,) = result.machine
    by_version = {row.version: row for row in result.zero_shot}
    assert (row.quality, row.pictures, row.bpp) == (60, 4, result.versions[0].bpp)
    assert (row.full, row.machine) == (by_version["full"].top1, by_version["machine"].top1)
    assert row.gain.value == pytest.approx(row.machine.value - row.full.value)


def test_attacks_are_measured_on_the_original_too(coloured, tiny_model, colour_model):
    labels = sources.read_labels(coloured / "labels.csv")
    asked = experiment(tiny_model, colour_model, attack_names="jpeg30,crop")
    result, outcomes = shielding.measure_classification(labels, CLASSES, asked)
    by_attack = {row.attack: row for row in outcomes}
    assert list(by_attack) == ["none", "jpeg30", "crop"]
    by_version = {row.version: row for row in result.zero_shot}
    assert by_attack["none"].original == by_version["original"].top1
    assert by_attack["none"].protected == by_version["protected"].top1
    for row in outcomes:
        assert row.drop.value == pytest.approx(row.original.value - row.protected.value)

    captioned = sources.read_captions(coloured / "captions.jsonl", "test")
    found, outcomes = shielding.measure_retrieval(captioned, asked, {"colours": colour_model})
    assert [row.task for row in outcomes] == ["image_to_text"] * 3 + ["text_to_image"] * 3
    assert outcomes[0].protected == found.retrieval[1].image_to_text["r1"]
    assert outcomes[3].protected == found.retrieval[1].text_to_image["r1"]


def test_keyless_is_the_best_that_any_condition_makes_of_the_public_part(tiny_model, monkeypatch):
    """A model that reads a picture the better, the less shield was asked for."""
    from psic_cli import codec
    from psic_cli.evaluation import coding, seeing

    asked_for = []

    def decode(data, model, version, condition=None):
        asked_for.append((version.value, condition))
        strength = 1.0 if condition is None else condition[0]
        shade = round(100 * strength) if version is codec.Version.PROTECTED else 0
        return np.full((32, 48, 3), (200, shade, 0), np.uint8)

    class Green:
        name = "green"

        def encode_image(self, pictures):
            return pictures.mean((2, 3))

    monkeypatch.setattr(coding, "decode", decode)
    view = seeing.look(picture(1), experiment(tiny_model, Green()))
    rows = seeing.compare(
        seeing.Views([view]),
        "green",
        [60],
        judge=lambda embeddings: -float(embeddings[0, 1]),
        summarise=lambda version, quality, given, original, full: (version, given),
        readable=lambda row: row[1],
    )
    by_version = dict(rows)
    assert by_version["keyless"] == by_version["full"] == 0 > by_version["protected"]
    conditions = {condition for version, condition in asked_for if version == "protected"}
    assert conditions == {None, *seeing.ASKED}
    assert {condition for version, condition in asked_for if version != "protected"} == {None}


def test_a_picture_that_fails_takes_its_label_and_captions_along(coloured, tiny_model, colour_model):
    (coloured / "green.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    labels = sources.read_labels(coloured / "labels.csv")
    asked = experiment(tiny_model, colour_model)
    zero_shot = shielding.measure_classification(labels, CLASSES, asked)[0].zero_shot
    assert zero_shot[0].pictures == 3
    assert zero_shot[0].top1.value == 1
    captioned = sources.read_captions(coloured / "captions.jsonl", "test")
    found = shielding.measure_retrieval(captioned, asked, {"colours": colour_model})[0].retrieval
    assert (found[0].pictures, found[0].captions) == (3, 6)
    assert found[0].image_to_text["r1"].value == found[0].text_to_image["r1"].value == 1


def test_agreement_is_measured_at_every_size_that_a_picture_has(tmp_path, tiny_model, colour_model):
    paths = [save(tmp_path / "large.png", picture(1, 64, 48)), save(tmp_path / "small.png", picture(2, 40, 30))]
    rows = shielding.measure_agreement(paths, CLASSES, experiment(tiny_model, colour_model), [32, None])
    assert [(row.side, row.version, row.pictures) for row in rows] == [
        (side, version, pictures)
        for side, pictures in ((32, 1), (None, 2))
        for version in ("protected", "full", "machine", "keyless")
    ]
    assert all(row.agreement.value == 1 for row in rows if row.version == "full")


def test_pictures_are_shrunk_to_a_shorter_side_and_never_enlarged():
    assert known(agreement.shrink(picture(0, 64, 48), 24)).shape == (24, 32, 3)
    assert known(agreement.shrink(picture(0, 64, 48), None)).shape == (48, 64, 3)
    assert agreement.shrink(picture(0, 64, 48), 49) is None


@pytest.mark.parametrize("text", ["", "big", "256,8", "-1"])
def test_sides_are_numbers_of_pixels(text):
    with pytest.raises(UsageError):
        agreement.read_sides(text)


def test_sides_are_sorted_and_full_size_comes_last():
    assert agreement.read_sides("full,1280,256,256") == [256, 1280, None]


def test_two_models_of_one_name_are_refused(colour_model):
    with pytest.raises(UsageError, match="the same name"):
        named([colour_model, colour_model])


def test_results_are_json_and_tables(coloured, tiny_model, colour_model):
    labels = sources.read_labels(coloured / "labels.csv")
    captioned = sources.read_captions(coloured / "captions.jsonl", "test")
    paths = sources.find_pictures(coloured)
    chosen = attacks.find_attacks("blur")
    asked = experiment(tiny_model, colour_model, attack_names="blur")
    classified, outcomes = shielding.measure_classification(labels, CLASSES, asked)
    results = report.Results(
        about={"model": "tiny"},
        rate_distortion=runs.measure_rate_distortion(paths, coloured, tiny_model, [60]),
        classification=classified,
        retrieval=shielding.measure_retrieval(captioned, asked, {"colours": colour_model})[0],
        attacks=AttackMatrix({attack.name: attack.does for attack in chosen}, outcomes),
        agreement=shielding.measure_agreement(paths, CLASSES, experiment(tiny_model, colour_model), [None]),
    )
    data = json.loads(report.to_json(results))
    assert data["classification"]["zero_shot"][0]["top1"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert data["rate_distortion"]["pictures"][0]["ms_ssim"]["full"] is None
    assert set(data["attacks"]["outcomes"][0]) == {
        *("task", "model", "quality", "attack", "pictures", "original", "protected", "drop", "remaining")
    }
    text = tables.to_text(results)
    for words in (
        *("Rate and quality, 4 pictures", "Zero-shot classification by colours", "8 captions", "keyless"),
        *("Full against machine version", "Top-1 classification by colours after attacks", "blur", "full size"),
    ):
        assert words in text
    assert max(map(len, text.splitlines())) <= 120
