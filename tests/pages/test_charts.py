"""Charts: a mark for every point, at its place, and axes that hold them all."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psic_cli.pages import charts
from psic_cli.pages.charts import Cell, Point, Series, heat_map, line_chart
from tests.pages.reading import read

FIGURES = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 3))


def draw(*series, **options):
    return read(line_chart("A chart", series, x_label="x", y_label="y", **options))


def places(chart):
    """The centre of each round mark."""
    outlines = [mark.attributes["d"] for line in chart.all("g", class_="line") for mark in line.all(class_="mark")]
    found = [re.match(r"M(\S+) (\S+)a(\S+)", outline) for outline in outlines]
    return [(float(m[1]) + float(m[3]), float(m[2])) for m in found if m]


def test_every_point_has_a_mark_with_words():
    points = [Point(1, 2, "first"), Point(2, 3, "second", 2.5, 3.5)]
    chart = draw(Series("a", points, "full"), Series("b", points, "protected"), Series("c", points, "peer-1"))
    lines = chart.all("g", class_="line")
    assert [len(line.all(class_="mark")) for line in lines] == [2, 2, 2]
    assert lines[0].words.split() == ["c", "first", "second"]
    assert len(chart.all(class_="whisker")) == 3
    assert [button.text for button in chart.all("button")] == ["a", "b", "c"]


def test_marks_stand_where_their_values_are():
    chart = draw(Series("a", [Point(0, 0, ""), Point(10, 100, ""), Point(5, 50, "")], "full"))
    right, bottom = charts.WIDTH - charts.RIGHT, charts.HEIGHT - charts.BOTTOM
    middle = ((charts.LEFT + right) / 2, (charts.TOP + bottom) / 2)
    for found, wanted in zip(places(chart), [(charts.LEFT, bottom), middle, (right, charts.TOP)], strict=True):
        assert found == pytest.approx(wanted, abs=0.2)


def test_a_logarithmic_axis_gives_factors_equal_room():
    left, middle, right = (
        x for x, _ in places(draw(Series("a", [Point(x, 1, "") for x in (0.1, 1, 10)], "full"), log_x=True))
    )
    assert middle - left == pytest.approx(right - middle, abs=0.2)


@settings(max_examples=25)
@given(st.lists(st.tuples(FIGURES, FIGURES), min_size=1, max_size=5))
def test_all_marks_are_inside_the_axes(values):
    for x, y in places(draw(Series("a", [Point(x, y, "") for x, y in values], "full"))):
        assert charts.LEFT - 0.2 <= x <= charts.WIDTH - charts.RIGHT + 0.2
        assert charts.TOP - 0.2 <= y <= charts.HEIGHT - charts.BOTTOM + 0.2


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5))
def test_ticks_are_round_rise_and_hold_all_values(values):
    for ticks in (charts.linear_ticks(values), charts.log_ticks(values)):
        assert ticks == sorted(set(ticks))
        assert len(ticks) >= 2
        slack = 1e-6 * max(values)
        assert ticks[0] <= min(values) + slack
        assert ticks[-1] >= max(values) - slack


def test_ticks_are_those_that_people_choose():
    assert charts.linear_ticks([28.1, 34.9]) == [28, 30, 32, 34, 36]
    assert charts.log_ticks([0.12, 1.9]) == [0.1, 0.2, 0.5, 1, 2]


def test_lines_without_points_are_left_out_and_a_chart_without_lines_is_nothing():
    assert len(draw(Series("a", [Point(1, 1, "")], "full"), Series("empty", [], "full")).all("button")) == 1
    assert line_chart("t", [Series("a", [], "full")], x_label="x", y_label="y") == ""


def test_a_hidden_line_can_be_switched_on():
    chart = draw(Series("a", [Point(1, 1, "")], "full"), Series("b", [Point(1, 1, "")], "published", shown=False))
    assert [b.attributes["aria-pressed"] for b in chart.all("button")] == ["true", "false"]
    assert ["hidden" in line.attributes for line in chart.all("g", class_="line")] == [True, False]


def test_a_heat_map_says_its_figures():
    rows = [("blur", "a bit", [Cell("70 %", 0.7, "66 to 74", "30 vs 60 %"), Cell("–", None), Cell("120 %", 1.2)])]
    table = read(heat_map("Title", "attack", ["m", "n", "o"], rows, "stronger: more"))
    cells = table.all("td")
    assert [cell.words.split() for cell in cells] == [
        ["70", "%", "66", "to", "74", "30", "vs", "60", "%"],
        ["–"],
        ["120", "%"],
    ]
    assert [cell.attributes.get("style") for cell in cells] == ["--heat-share:0.700", None, "--heat-share:1.000"]
    assert [head.attributes["scope"] for head in table.all("th")] == ["col"] * 4 + ["row"]
