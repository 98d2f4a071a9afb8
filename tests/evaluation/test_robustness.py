import numpy as np
import pytest

from psic_cli.evaluation.robustness import outcome
from tests.evaluation.conftest import known


def answers(**by_attack):
    return {name: {"classification": np.array(right, float)} for name, right in by_attack.items()}


ORIGINAL = answers(none=[1, 1, 1, 1], jpeg=[1, 1, 1, 0])
PROTECTED = answers(none=[0, 0, 0, 1], jpeg=[1, 0, 0, 0])
ASKED = np.ones(4)


def test_an_attack_counts_less_what_it_costs_the_original():
    result = outcome("classification", "m", 50, "jpeg", (ORIGINAL, PROTECTED), ASKED)
    assert (result.original.value, result.protected.value) == (0.75, 0.25)
    assert result.drop.value == 0.5
    assert known(result.remaining).value == pytest.approx(2 / 3)  # the drop was 3 of 4, and is 2 of 4


def test_without_an_attack_all_of_the_drop_remains():
    result = outcome("classification", "m", 50, "none", (ORIGINAL, PROTECTED), ASKED)
    remaining = known(result.remaining)
    assert (remaining.low, remaining.value, remaining.high) == (1, 1, 1)  # pictures are resampled together


def test_where_nothing_drops_there_is_no_share_of_it():
    useless = answers(none=[1, 1, 1, 1], jpeg=[1, 0, 0, 0])
    result = outcome("classification", "m", 50, "jpeg", (ORIGINAL, useless), ASKED)
    assert result.remaining is None
    assert result.drop.value == 0.5


def test_pictures_with_several_questions_weigh_by_them():
    asked = np.array([1.0, 3.0])
    original, protected = answers(none=[1, 3]), answers(none=[0, 3])
    assert outcome("classification", "m", 50, "none", (original, protected), asked).drop.value == 0.25
