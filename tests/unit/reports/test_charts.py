"""Charts show every value, in bounds, and say their names."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thriftune.reports.charts import (
    HEIGHT,
    WIDTH,
    Axis,
    Scale,
    TrialPoint,
    bars,
    byte_lines,
    history,
    interval_bars,
    line_chart,
    parallel,
)

pytestmark = pytest.mark.unit
VALUES = st.floats(-1e9, 1e9, allow_nan=False).filter(lambda value: value == 0 or abs(value) > 1e-6)


@given(st.lists(VALUES, min_size=1, max_size=20))
def test_a_scale_holds_its_values_between_few_round_ticks(values: list[float]) -> None:
    """In order, the ends included."""
    scale = Scale.around(values)
    ticks, slack = scale.ticks(), 1e-9 * max(1.0, *map(abs, values))
    assert scale.low <= min(values) + slack
    assert max(values) - slack <= scale.high
    assert 2 <= len(ticks) <= 11 or min(values) == max(values)
    assert ticks == sorted(ticks)
    shares = [scale.share(value) for value in sorted(values)]
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)


@given(st.lists(st.floats(1, 1e15), min_size=1, max_size=20))
def test_a_logarithmic_scale_goes_from_power_to_power(values: list[float]) -> None:
    """Ten times as much is as far everywhere."""
    scale = Scale.around(values, logarithmic=True)
    assert scale.low <= min(values) * (1 + 1e-9)
    assert max(values) <= scale.high * (1 + 1e-9)
    assert len(scale.ticks()) <= 9
    step = scale.share(scale.low * 10)
    assert scale.share(scale.high) == pytest.approx(1.0 if scale.high > scale.low else 0.0)
    assert scale.share(scale.high / 10) == pytest.approx(1 - step)


def numbers(svg: str) -> list[float]:
    """Coordinates of all lines and points."""
    found = re.findall(r'(?:points|cx|cy|d)="([^"]+)"', svg)
    return [float(number) for part in found for number in re.findall(r"-?\d+\.?\d*", part)]


CHARTS = {
    "lines": line_chart({"a <b>": [(1, 0.2), (2, 0.9)], "one": [(1, 0.5)]}, "epoch", "L & M"),
    "history": history(
        [TrialPoint(0, 0.1, True), TrialPoint(1, 0.9, False), TrialPoint(2, 0.4, True)], "trial", "L & M"
    ),
    "one trial": history([TrialPoint(7, 0.0, False)], "trial", "L & M"),
    "bytes": byte_lines({"held": [(0, 1e6), (9, 2e6)], "keep-all": [(0, 1e7), (9, 1e9)]}, "trial", "L & M"),
    "bars": bars({"a": 1.0, "b": -2.0}, {"a": "1", "b": "-2"}, "L & M"),
    "intervals": interval_bars({"a": 0.5, "b": 1.0}, {"a": (0.4, 0.6), "b": None}, "L & M"),
    "parallel": parallel(
        [Axis("x.rate", [1e-5, 1e-3, None], True), Axis("x.<kind>", ["a", "b", "a"])],
        [0.1, 0.9, 0.5],
        "L & M",
    ),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_well_formed_inside_its_frame_and_has_a_name(name: str) -> None:
    """Whatever is written into it is escaped."""
    svg = CHARTS[name]
    root = ElementTree.fromstring(svg)
    assert (root.get("role"), root.get("aria-label")) == ("img", "L & M")
    _, _, width, height = map(float, str(root.get("viewBox")).split())
    assert all(0 <= number <= max(width, height) for number in numbers(svg))


def test_the_best_so_far_goes_by_complete_trials() -> None:
    """A pruned one may stand higher, and is hollow."""
    root = ElementTree.fromstring(CHARTS["history"])
    (line,) = root.iter("polyline")
    heights = [float(point.partition(",")[2]) for point in str(line.get("points")).split()]
    pruned = [dot for dot in root.iter("circle") if "hollow" in str(dot.get("class"))]
    assert len(pruned) == 1
    assert float(str(pruned[0].get("cy"))) < min(heights)
    assert heights == sorted(heights, reverse=True)


def test_names_at_the_ends_of_lines_do_not_meet() -> None:
    """Five curves that end alike."""
    svg = line_chart({f"trial {n}": [(1, 0.5), (2, 0.9 + n / 1e6)] for n in range(5)}, "epoch", "l")
    places = sorted(float(y) for y in re.findall(r'class="c\d" x="[\d.]+" y="([\d.]+)"', svg))
    assert len(places) == 5
    assert all(b - a >= 12 for a, b in pairwise(places))


def test_parallel_coordinates_draw_the_best_last_and_leave_out_what_a_trial_has_not() -> None:
    """A trial without the first parameter starts at the second axis; ticks say categories and numbers."""
    lines = re.findall(r'<path class="(\w+)" d="([^"]+)"', CHARTS["parallel"])
    assert lines[-1][0] == "best"
    assert sorted(len(re.findall("[ML]", path)) for _, path in lines) == [2, 3, 3]
    assert [text in CHARTS["parallel"] for text in (">1e-05<", ">0.001<", ">a<", ">x.&lt;kind&gt;<")] == [
        True
    ] * 4


def test_a_line_without_a_point_is_left_out() -> None:
    """A study whose trials left no figures of their bytes, a trial without a curve; one point is a dot."""
    held = byte_lines({"held": [], "keep-all": [(0, 1e7)]}, "trial", "l")
    assert [">held<" in held, ">keep-all<" in held, held.count("<circle")] == [False, True, 1]
    assert line_chart({"a": [], "b": [(1, 0.5)]}, "epoch", "l").count("<polyline") == 1


def test_nothing_to_show_is_nothing() -> None:
    """No empty frame."""
    assert line_chart({}, "x", "l") + history([], "x", "l") == ""
    assert byte_lines({"held": []}, "x", "l") + parallel([], [], "l") + bars({}, {}, "l") == ""
    assert (WIDTH, HEIGHT) == (640, 240)
