"""Charts as inline SVG: no script, no external resource, colours from page.css.

What a chart shows is also in a table of its page, or in its label, for screen readers. Each chart is an empty
text where there is nothing to show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from thriftune.units import human_bytes

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 240, 56, 110, 16, 40
ROW = 26
COLOURS = 5
"""Classes c0, c1, ... of page.css."""
Point = tuple[float, float]


@dataclass(frozen=True)
class TrialPoint:
    """A trial in the history of a search."""

    trial: int
    value: float
    complete: bool
    """False: it was pruned, and is drawn hollow."""


@dataclass(frozen=True)
class Scale:
    """Maps values to shares of an axis."""

    low: float
    high: float
    logarithmic: bool = False

    @classmethod
    def around(cls, values: Iterable[float], logarithmic: bool = False) -> Scale:
        """Return the scale between the round numbers on both sides of all values.

        Args:
            values: Values that the axis has to hold; none: from 0 to 1.
            logarithmic: Whether the axis is, and its ends are powers of ten; values below 0 are left out.
        """
        known = [value for value in values if not logarithmic or value > 0]
        low, high = min(known, default=float(logarithmic)), max(known, default=1.0)
        if logarithmic:
            return cls(10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high) + 1e-9), True)
        step = _step(high - low)
        return cls(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step)

    def share(self, value: float) -> float:
        """Return the place of a value: 0 at the low end, 1 at the high end, never beyond.

        Args:
            value: In the unit of the axis.
        """
        if self.logarithmic:
            value = max(value, self.low)
            part = math.log10(value / self.low) / (math.log10(self.high / self.low) or 1.0)
        else:
            part = (value - self.low) / ((self.high - self.low) or 1.0)
        return min(1.0, max(0.0, part))

    def ticks(self) -> list[float]:
        """Return round numbers from end to end, about five to nine."""
        if self.logarithmic:
            low, high = round(math.log10(self.low)), round(math.log10(self.high))
            return [10.0**power for power in range(low, high + 1, max(1, (high - low) // 4))]
        step = _step(self.high - self.low)
        count = round((self.high - self.low) / step)
        return [self.low + step * number for number in range(count + 1)]


@dataclass(frozen=True)
class Axis:
    """One parameter of all trials, for parallel coordinates."""

    name: str
    values: Sequence[float | str | None]
    """The value of each trial; None: the trial does not have the parameter."""
    logarithmic: bool = False


def line_chart(series: Mapping[str, Sequence[Point]], x_label: str, label: str) -> str:
    """Return lines over a shared x axis, with their names at their ends.

    Args:
        series: (x, y) of each line by its name; one point is drawn as a dot.
        x_label: Title of the x axis.
        label: Description for screen readers.
    """
    return _lines(series, Scale.around(y for line in series.values() for _, y in line), x_label, label)


def history(points: Sequence[TrialPoint], x_label: str, label: str) -> str:
    """Return the value of each trial as a dot, and the best complete one so far as a line.

    Args:
        points: Trials with a value, in the order of their numbers.
        x_label: Title of the x axis.
        label: Description for screen readers.
    """
    if not points:
        return ""
    xs, ys = Scale(points[0].trial, points[-1].trial), Scale.around(point.value for point in points)
    body = [_frame(xs, ys, x_label), *(_trial_dot(point, xs, ys) for point in points)]
    steps = _best_so_far(points)
    if steps:
        body.append(f'<polyline class="c1" points="{_path(steps, xs, ys)}"/>')
        body += _names([(_y(ys.share(steps[-1][1])), "best so far", "c1")])
    return _svg(body, label)


def _trial_dot(point: TrialPoint, xs: Scale, ys: Scale) -> str:
    """Return the dot of a trial, which says its number, value and state."""
    colour, state = ("c0", "complete") if point.complete else ("c0 hollow", "pruned")
    title = f"trial {point.trial}: {point.value:.4f}, {state}"
    return _dot((point.trial, point.value), xs, ys, colour, title)


def _best_so_far(points: Sequence[TrialPoint]) -> list[Point]:
    """Return the corners of the line of the best complete trial so far."""
    steps: list[Point] = []
    for point in points:
        if point.complete and (not steps or point.value > steps[-1][1]):
            steps += [(point.trial, steps[-1][1])] if steps else []
            steps.append((point.trial, point.value))
    if steps:
        steps.append((points[-1].trial, steps[-1][1]))
    return steps


def byte_lines(series: Mapping[str, Sequence[Point]], x_label: str, label: str) -> str:
    """Return lines of bytes on a logarithmic axis: one may be a hundred times another.

    Args:
        series: (x, bytes) of each line by its name; one point is drawn as a dot.
        x_label: Title of the x axis.
        label: Description for screen readers.
    """
    ys = Scale.around((y for line in series.values() for _, y in line), logarithmic=True)
    return _lines(series, ys, x_label, label, lambda size: human_bytes(round(size)))


def bars(values: Mapping[str, float], labels: Mapping[str, str], label: str) -> str:
    """Return horizontal bars relative to the largest value.

    Args:
        values: Lengths by name, in the unit of the caller; those below 0 are drawn as 0.
        labels: Text beside each bar, by name.
        label: Description for screen readers.
    """
    if not values:
        return ""
    largest = max(values.values()) or 1.0
    rows = []
    for number, (name, value) in enumerate(values.items()):
        length = (WIDTH - 330) * max(0.0, value) / largest
        rows.append(
            _row_name(number, name)
            + f'<rect class="c0" x="240" y="{_top(number)}" width="{max(1.0, length):.1f}" height="16"/>'
            f'<text x="{248 + length:.1f}" y="{_top(number) + 13}">{escape(labels[name])}</text>'
        )
    return _svg(rows, label, 12 + ROW * len(values))


def interval_bars(
    values: Mapping[str, float], intervals: Mapping[str, tuple[float, float] | None], label: str
) -> str:
    """Return horizontal bars, each with its interval as a whisker and its value as text.

    Args:
        values: Lengths by name, between 0 and 1.
        intervals: Both ends by name, between 0 and 1; None, or left out: no whisker.
        label: Description for screen readers.
    """
    rows = [
        _interval_row(number, name, value, intervals.get(name))
        for number, (name, value) in enumerate(values.items())
    ]
    return _svg(rows, label, 12 + ROW * len(values), WIDTH + 40)


def _interval_row(number: int, name: str, value: float, ends: tuple[float, float] | None) -> str:
    """Return one bar with its name, whisker and value."""
    top, whisker, text = _top(number), "", f"{value:.2f}"
    if ends is not None:
        low, high = (240 + 300 * end for end in ends)
        whisker = (
            f'<path class="whisker" d="M{low:.1f} {top + 8}H{high:.1f}M{low:.1f} {top + 4}v8'
            f'M{high:.1f} {top + 4}v8"/>'
        )
        text += f" ({ends[0]:.2f} to {ends[1]:.2f})"
    return (
        _row_name(number, name)
        + f'<rect class="c0 soft" x="240" y="{top}" width="{max(1.0, 300 * value):.1f}" height="16"/>'
        + f'{whisker}<text x="550" y="{top + 13}">{text}</text>'
    )


def parallel(axes: Sequence[Axis], scores: Sequence[float], label: str) -> str:
    """Return parallel coordinates: a line for each trial across its parameters.

    The better a trial, the stronger its line; the best is on top.

    Args:
        axes: The parameters, with a value of each trial.
        scores: The value of each trial, for the last axis; the higher the better.
        label: Description for screen readers.
    """
    if not axes or not scores:
        return ""
    every = (*axes, Axis("value", scores))
    positions = [_positions(axis) for axis in every]
    xs = [40 + (WIDTH - 80) / len(axes) * number for number in range(len(every))]
    order = sorted(range(len(scores)), key=lambda trial: scores[trial])
    lines = []
    for rank, trial in enumerate(order):
        path = _broken_line([(x, own[trial]) for x, (own, _) in zip(xs, positions, strict=True)])
        strength = f"t{min(4, 5 * rank // len(order))}" if rank < len(order) - 1 else "best"
        lines.append(f'<path class="{strength}" d="{path}"/>')
    for x, axis, (_, ticks) in zip(xs, every, positions, strict=True):
        lines += _vertical_axis(x, axis.name, ticks)
    return _svg(lines, label, HEIGHT + 50, WIDTH + 60)


def _vertical_axis(x: float, name: str, ticks: Sequence[tuple[float, str]]) -> list[str]:
    """Return the line of an axis, its ticks and, turned since names are long, its name."""
    return [
        f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{_y(0):.1f}"/>',
        *(f'<text x="{x + 4:.1f}" y="{_y(share) + 4:.1f}">{escape(tick)}</text>' for share, tick in ticks),
        f'<text transform="translate({x:.1f} {HEIGHT - 22}) rotate(20)">{escape(_short(name))}</text>',
    ]


def _positions(axis: Axis) -> tuple[list[float | None], list[tuple[float, str]]]:
    """Return the share at which each trial crosses an axis, and the axis' ticks."""
    known = [value for value in axis.values if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        numbers = [float(value) for value in known]
        scale = Scale(min(numbers, default=0.0), max(numbers, default=1.0), axis.logarithmic)
        shown = set(numbers) if len(set(numbers)) <= 5 else {scale.low, scale.high}
        ticks = [(scale.share(value), f"{value:.3g}") for value in sorted(shown)]
        return [None if v is None else scale.share(float(v)) for v in axis.values], ticks
    names = sorted({str(value) for value in known})
    shares = {name: (at + 0.5) / len(names) for at, name in enumerate(names)}
    return (
        [None if value is None else shares[str(value)] for value in axis.values],
        [(share, _short(name)) for name, share in shares.items()],
    )


def _broken_line(points: Sequence[tuple[float, float | None]]) -> str:
    """Return a path that leaves out the axes of parameters that a trial does not have."""
    path, pen = "", "M"
    for x, share in points:
        if share is None:
            pen = "M"
        else:
            path, pen = f"{path}{pen}{x:.0f} {_y(share):.0f}", "L"
    return path


def _short(name: str) -> str:
    """Return the end of a parameter's name, which is what differs from other names."""
    tail = ".".join(name.split(".")[-2:])
    return tail if len(tail) <= 26 else f"…{tail[-25:]}"


def _lines(
    series: Mapping[str, Sequence[Point]],
    ys: Scale,
    x_label: str,
    label: str,
    tick: Callable[[float], str] | None = None,
) -> str:
    """Return lines with a frame; tick: how to write the value of a tick."""
    drawn = {name: line for name, line in series.items() if line}
    if not drawn:
        return ""
    steps = [x for line in drawn.values() for x, _ in line]
    xs, ends = Scale(min(steps), max(steps)), []
    body = [_frame(xs, ys, x_label, tick)]
    for number, (name, line) in enumerate(drawn.items()):
        colour = f"c{number % COLOURS}"
        body.append(f'<polyline class="{colour}" points="{_path(line, xs, ys)}"/>')
        if len(line) == 1:
            body.append(_dot(line[0], xs, ys, colour))
        ends.append((_y(ys.share(line[-1][1])), name, colour))
    return _svg([*body, *_names(ends)], label)


def _frame(xs: Scale, ys: Scale, x_label: str, tick: Callable[[float], str] | None = None) -> str:
    """Return the grid with its ticks, the ends of the x axis and its title."""
    tick = tick or _tick
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    heights = [(value, _y(ys.share(value))) for value in ys.ticks()]
    grid = "".join(
        f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>'
        f'<text class="end" x="{LEFT - 6}" y="{y + 4:.1f}">{tick(value)}</text>'
        for value, y in heights
    )
    ends = f'<text x="{LEFT}" y="{bottom + 16}">{xs.low:g}</text>'
    if xs.high > xs.low:
        ends += f'<text class="end" x="{right}" y="{bottom + 16}">{xs.high:g}</text>'
    return (
        f'{grid}{ends}<text class="middle" x="{(LEFT + right) / 2}" y="{HEIGHT - 6}">{escape(x_label)}</text>'
    )


def _names(ends: Sequence[tuple[float, str, str]]) -> list[str]:
    """Return the names of lines beside their ends, moved apart so that none overlap."""
    body, free = [], -math.inf
    for y, name, colour in sorted(ends):
        free = max(y, free + 13)
        body.append(
            f'<text class="{colour}" x="{WIDTH - RIGHT + 6}" y="{free + 4:.1f}">{escape(name)}</text>'
        )
    return body


def _dot(point: Point, xs: Scale, ys: Scale, colour: str, text: str = "") -> str:
    x, y = _x(xs.share(point[0])), _y(ys.share(point[1]))
    title = f"<title>{escape(text)}</title>" if text else ""
    return f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3">{title}</circle>'


def _path(points: Sequence[Point], xs: Scale, ys: Scale) -> str:
    return " ".join(f"{_x(xs.share(x)):.1f},{_y(ys.share(y)):.1f}" for x, y in points)


def _row_name(number: int, name: str) -> str:
    return f'<text class="end" x="230" y="{_top(number) + 13}">{escape(_short(name))}</text>'


def _top(number: int) -> int:
    return 6 + number * ROW


def _step(span: float) -> float:
    """Return the round distance (1, 2 or 5 times a power of ten) that cuts a span into four to eight."""
    if span <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    return next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 8)


def _tick(value: float) -> str:
    return f"{round(value, 10):.4g}" if abs(value) < 1e6 else f"{value:.3g}"


def _svg(body: Sequence[str], label: str, height: int = HEIGHT, width: int = WIDTH) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{"".join(body)}</svg>'
    )


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
