"""Integer tables: what a TableSet guarantees to the coder, and how probabilities become one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psic_cli.bitstream.tables import (
    MAX_IN_TABLE,
    MAX_TABLES,
    PRECISION,
    SCALES,
    TOTAL,
    TableSet,
    symbol_tables,
    tables_from_probabilities,
)
from tests.bitstream.strategies import EXAMPLE_TABLES, table_set, table_sets


@pytest.fixture(scope="module")
def gaussians() -> TableSet:
    return symbol_tables()


def probabilities(tables: TableSet, table: int) -> np.ndarray:
    """What the coder takes the entries of a table to be worth, the escape last."""
    return np.diff(tables.row(table)) / TOTAL


# Table sets


def test_the_total_is_24_bits():
    assert (PRECISION, TOTAL) == (24, 16777216)


@given(table_sets())
def test_rows_run_from_0_to_the_total_with_every_frequency_at_least_1(tables):
    for table in range(len(tables)):
        row = tables.row(table)
        assert len(row) == tables.sizes[table] + 2
        assert (row[0], row[-1]) == (0, TOTAL)
        assert np.diff(row).min() >= 1


@given(table_sets())
def test_a_table_set_survives_being_stored(tables):
    arrays = {"other": np.zeros(3, np.int32), **tables.to_arrays("tables.z")}
    assert set(arrays) == {"other", "tables.z.cumulative", "tables.z.sizes", "tables.z.offsets"}
    back = TableSet.from_arrays(arrays, "tables.z")
    assert np.array_equal(back.cumulative, tables.cumulative)
    assert np.array_equal(back.sizes, tables.sizes)
    assert np.array_equal(back.offsets, tables.offsets)


def test_a_missing_array_is_named():
    arrays = EXAMPLE_TABLES.to_arrays("tables.y")
    del arrays["tables.y.sizes"]
    with pytest.raises(ValueError, match=r"tables\.y\.sizes is missing"):
        TableSet.from_arrays(arrays, "tables.y")


def test_checked_tables_cannot_change():
    cumulative, sizes, offsets = (np.array(array) for array in EXAMPLE_TABLES.to_arrays("t").values())
    tables = TableSet(cumulative, sizes, offsets)
    cumulative[0, 1] = 0
    sizes[0] = 100
    assert np.array_equal(tables.cumulative, EXAMPLE_TABLES.cumulative)
    assert tables.sizes[0] == 3
    with pytest.raises(ValueError, match="read-only"):
        tables.cumulative[0, 1] = 0


def test_tables_in_any_memory_order_are_taken():
    tables = TableSet(np.asfortranarray(EXAMPLE_TABLES.cumulative), EXAMPLE_TABLES.sizes, EXAMPLE_TABLES.offsets)
    assert tables.cumulative.flags.c_contiguous


GOOD = [[0, 5, 9, TOTAL], [0, 7, TOTAL, TOTAL]]


@pytest.mark.parametrize(
    ("cumulative", "sizes", "offsets"),
    [
        pytest.param([[1, 5, 9, TOTAL], GOOD[1]], [2, 1], [0, 0], id="does not start at 0"),
        pytest.param([[0, 5, 9, TOTAL - 1], GOOD[1]], [2, 1], [0, 0], id="does not end at the total"),
        pytest.param([[0, 5, 5, TOTAL], GOOD[1]], [2, 1], [0, 0], id="a frequency of 0"),
        pytest.param([[0, 5, 4, TOTAL], GOOD[1]], [2, 1], [0, 0], id="a frequency below 0"),
        pytest.param([[0, 5, TOTAL, TOTAL], GOOD[1]], [2, 1], [0, 0], id="an escape of 0"),
        pytest.param([[0, -5, 9, TOTAL], GOOD[1]], [2, 1], [0, 0], id="a negative number"),
        pytest.param([[0, 5, 2**31 - 1, TOTAL], GOOD[1]], [2, 1], [0, 0], id="a number beyond the total"),
        pytest.param([GOOD[0], [0, 7, TOTAL - 1, TOTAL]], [2, 1], [0, 0], id="padding is not the total"),
        pytest.param([GOOD[0], GOOD[1]], [1, 1], [0, 0], id="rows longer than the largest table"),
        pytest.param([GOOD[0], GOOD[1]], [3, 1], [0, 0], id="rows shorter than the largest table"),
        pytest.param([GOOD[0], GOOD[1]], [2, 0], [0, 0], id="an empty table"),
        pytest.param([GOOD[0], GOOD[1]], [2, -1], [0, 0], id="a size below 0"),
        pytest.param([GOOD[0], GOOD[1]], [2], [0, 0], id="a size too few"),
        pytest.param([GOOD[0], GOOD[1]], [2, 1], [0], id="an offset too few"),
        pytest.param([GOOD[0], GOOD[1]], [2, 1], [-MAX_IN_TABLE - 1, 0], id="starts too low"),
        pytest.param([GOOD[0], GOOD[1]], [2, 1], [MAX_IN_TABLE, 0], id="ends too high"),
        pytest.param([GOOD[0], GOOD[1]], [2, 1], [2**31 - 1, 0], id="offset at the end of int32"),
        pytest.param([GOOD[0], GOOD[1]], [2**31 - 1, 1], [0, 0], id="size at the end of int32"),
        pytest.param(np.zeros((0, 4)), [], [], id="no tables"),
        pytest.param(np.zeros((2, 0)), [2, 1], [0, 0], id="no columns"),
    ],
)
def test_tables_that_would_break_the_coder_are_refused(cumulative, sizes, offsets):
    TableSet(np.array(GOOD, np.int32), np.array([2, 1], np.int32), np.array([0, 0], np.int32))
    with pytest.raises(ValueError, match="tables: "):
        TableSet(np.array(cumulative, np.int32), np.array(sizes, np.int32), np.array(offsets, np.int32))


@pytest.mark.parametrize(
    "wrong",
    [
        {"cumulative": np.array(GOOD, np.int64)},
        {"cumulative": np.array(GOOD, np.float32)},
        {"cumulative": np.array(GOOD[0], np.int32)},
        {"cumulative": GOOD},
        {"sizes": np.array([2, 1], np.uint8)},
        {"offsets": np.array([[0, 0]], np.int32)},
    ],
    ids=str,
)
def test_arrays_of_another_kind_are_refused(wrong):
    right = {
        "cumulative": np.array(GOOD, np.int32),
        "sizes": np.array([2, 1], np.int32),
        "offsets": np.array([0, 0], np.int32),
    }
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is not an int32 array"):
        TableSet(**{**right, **wrong})


def test_more_tables_than_the_coder_sorts_by_are_refused():
    with pytest.raises(ValueError, match=str(MAX_TABLES)):
        table_set([[1, TOTAL - 1]] * (MAX_TABLES + 1), [0] * (MAX_TABLES + 1))


# Tables from probabilities


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40).filter(lambda p: math.fsum(p) > 0), st.floats(0.01, 1.0))
def test_frequencies_follow_probabilities(weights, mass):
    given_probabilities = np.array(weights) / math.fsum(weights) * mass
    tables = tables_from_probabilities([(-3, given_probabilities)])
    found = probabilities(tables, 0)
    assert (tables.sizes[0], tables.offsets[0]) == (len(weights), -3)
    assert found[-1] >= 2.0**-17
    # the escape's floor, the frequency of at least 1 and rounding each take their part
    assert np.abs(found[:-1] - given_probabilities).max() <= 2.0**-17 + 100 * 2.0**-24
    assert abs(found[-1] - max(1.0 - mass, 2.0**-17)) <= 100 * 2.0**-24


def test_tables_of_different_sizes_share_one_set():
    tables = tables_from_probabilities(
        [(0, np.array([1.0])), (-2, np.array([0.1, 0.2, 0.4, 0.2, 0.1])), (5, np.ones(2) / 2)]
    )
    assert tables.sizes.tolist() == [1, 5, 2]
    assert tables.offsets.tolist() == [0, -2, 5]
    assert tables.cumulative.shape == (3, 7)


def test_symbols_of_probability_0_can_still_be_coded():
    tables = tables_from_probabilities([(0, np.array([0.0, 1.0, 0.0]))])
    assert np.diff(tables.row(0)).tolist() == [1, TOTAL - 2 - 128, 1, 128]


@pytest.mark.parametrize(
    "wrong",
    [[], [[0.5, 0.5]], [0.5, -0.1], [0.5, math.nan], [0.5, math.inf], [0.7, 0.4], [0.0, 0.0], [0.0] * (2**16 + 2)],
    ids=["none", "rank 2", "negative", "nan", "infinite", "beyond 1", "nothing", "too many"],
)
def test_what_is_not_a_probability_mass_function_is_refused(wrong):
    with pytest.raises(ValueError, match="tables: "):
        tables_from_probabilities([(0, np.array(wrong))])


def test_no_tables_at_all_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        tables_from_probabilities([])


def test_a_table_that_leaves_its_bounds_is_refused():
    with pytest.raises(ValueError, match=str(MAX_IN_TABLE)):
        tables_from_probabilities([(MAX_IN_TABLE, np.ones(2) / 2)])


# Gaussian tables


def test_scales_run_from_0_11_to_128_in_equal_ratios():
    assert len(SCALES) == 64
    assert SCALES[[0, -1]] == pytest.approx([0.11, 128.0])
    assert SCALES[1:] / SCALES[:-1] == pytest.approx(np.full(63, (128 / 0.11) ** (1 / 63)))


def test_gaussian_tables_are_centred_and_symmetric(gaussians):
    assert len(gaussians) == 64
    for table in range(64):
        frequencies = np.diff(gaussians.row(table))[:-1]
        assert gaussians.sizes[table] == 1 - 2 * gaussians.offsets[table]
        assert np.array_equal(frequencies, frequencies[::-1])


def test_a_gaussian_costs_what_it_must(gaussians):
    """Less than a thousandth of a bit per symbol more than the entropy of the rounded Gaussian."""
    for table, scale in enumerate(SCALES):
        first, size = int(gaussians.offsets[table]), int(gaussians.sizes[table])
        edges = (np.arange(first, first + size + 1) - 0.5) / (scale * math.sqrt(2))
        exact = np.diff([0.5 * math.erf(edge) for edge in edges])
        outside = 1 - exact.sum()
        found = probabilities(gaussians, table)
        inside = exact > 0
        cost = float((exact[inside] * np.log2(exact[inside] / found[:-1][inside])).sum())
        assert outside <= 2.0**-16
        assert cost + outside * 24 < 1e-3


def test_a_surprise_costs_at_most_17_bits_and_its_distance(gaussians):
    assert probabilities(gaussians, 0)[-1] >= 2.0**-17
    assert min(probabilities(gaussians, table)[-1] for table in range(64)) >= 2.0**-17


def test_gaussian_tables_are_small(gaussians):
    assert gaussians.cumulative.nbytes < 300_000


def laplacian_counts(count: float) -> np.ndarray:
    """Of magnitudes 0..49 and larger ones, as a Laplacian of scale 2 gives them, in every row."""
    beyond = np.concatenate([[1.0], np.exp(-(np.arange(50) + 0.5) / 2.0)])
    return np.tile(count * np.append(-np.diff(beyond), beyond[-1]), (64, 1))


def test_what_was_seen_often_shapes_its_table():
    counts = laplacian_counts(1e7)
    tables = symbol_tables(counts)
    for table in (0, 20, 40):
        found = probabilities(tables, table)
        centre = -int(tables.offsets[table])
        assert found[centre] == pytest.approx(counts[table, 0] / 1e7, rel=0.01)
        assert found[centre + 1 : centre + 9] == pytest.approx(counts[table, 1:9] / 2e7, rel=0.02)
        assert found[:centre] == pytest.approx(found[centre + 1 : -1][::-1], rel=1e-3)


def test_what_was_hardly_seen_does_not(gaussians):
    tables = symbol_tables(laplacian_counts(2.0))
    for table in (0, 20, 40):
        centre, before = (-int(found.offsets[table]) for found in (tables, gaussians))
        assert probabilities(tables, table)[centre] == pytest.approx(probabilities(gaussians, table)[before], rel=0.02)


def test_a_symbol_larger_than_all_that_was_counted_is_escaped():
    counts = np.zeros((64, 4))
    counts[:, 0], counts[:, -1] = 1e6, 1e5
    tables = symbol_tables(counts)
    assert probabilities(tables, 0)[-1] == pytest.approx(1 / 11, rel=0.01)
    assert tables.sizes[0] == 5
