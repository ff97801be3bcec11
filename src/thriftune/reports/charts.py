"""Charts as inline SVG: no script, no external resource, colours from page.css.

What a chart shows stands in a table of its page too, or in its label: a screen reader gets no less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from thriftune.units import human_bytes

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 240, 56, 110, 16, 40
ROW = 26
COLOURS = 5
"""Classes c0, c1, ... of page.css."""
Point = tuple[float, float]
State = Literal["complete", "pruned"]


@dataclass(frozen=True)
class Scale:
    """Maps values to shares of an axis."""

    low: float
    high: float
    logarithmic: bool = False

    @classmethod
    def around(cls, values: Iterable[float], logarithmic: bool = False) -> Scale:
        """From and to a round number (of a logarithmic one: a power of ten) on both sides of all values."""
        known = [value for value in values if not logarithmic or value > 0]
        low, high = min(known, default=float(logarithmic)), max(known, default=1.0)
        if logarithmic:
            return cls(10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high) + 1e-9), True)
        step = _step(high - low)
        return cls(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step)

    def share(self, value: float) -> float:
        """0 at the low end, 1 at the high end, never beyond."""
        if self.logarithmic:
            value = max(value, self.low)
            part = math.log10(value / self.low) / (math.log10(self.high / self.low) or 1.0)
        else:
            part = (value - self.low) / ((self.high - self.low) or 1.0)
        return min(1.0, max(0.0, part))

    def ticks(self) -> list[float]:
        """Round numbers, at most eight."""
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
    """A trial each; None where it has not the parameter."""
    logarithmic: bool = False


def line_chart(series: Mapping[str, Sequence[Point]], x_label: str, label: str) -> str:
    """Lines over a shared x axis, named at their ends."""
    return _lines(series, Scale.around(y for line in series.values() for _, y in line), x_label, label)


def history(points: Sequence[tuple[int, float, State]], x_label: str, label: str) -> str:
    """(trial, value, state) each, pruned ones hollow; a line of the best until then of the complete ones."""
    if not points:
        return ""
    xs, ys = Scale(points[0][0], points[-1][0]), Scale.around(y for _, y, _ in points)
    body, best = [_frame(xs, ys, x_label)], -math.inf
    steps: list[Point] = []
    for x, y, state in points:
        colour = "c0" if state == "complete" else "c0 hollow"
        body.append(_dot((x, y), xs, ys, colour, f"trial {x}: {y:.4f}, {state}"))
        if state == "complete" and y > best:
            steps += [(x, best), (x, y)] if steps else [(x, y)]
            best = y
    if steps:
        steps.append((points[-1][0], best))
        body.append(f'<polyline class="c1" points="{_path(steps, xs, ys)}"/>')
        body += _names([(_y(ys.share(best)), "best so far", "c1")])
    return _svg(body, label)


def curve(points: Sequence[Point], x_label: str, label: str, limit: float | None = None) -> str:
    """One line from 0 to its largest value, or to a limit that is drawn too."""
    if not points:
        return ""
    xs = Scale(points[0][0], points[-1][0])
    ys = Scale.around([0.0, limit or 0.0, *(y for _, y in points)])
    body = [_frame(xs, ys, x_label), f'<polyline class="c0" points="{_path(points, xs, ys)}"/>']
    if limit is not None:
        y = _y(ys.share(limit))
        body.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="limit"/>')
        body += _names([(y, "limit", "c1")])
    return _svg(body, label)


def byte_lines(series: Mapping[str, Sequence[Point]], x_label: str, label: str) -> str:
    """Lines of bytes on a logarithmic axis: what is held beside what would be, a hundred times as much."""
    ys = Scale.around((y for line in series.values() for _, y in line), logarithmic=True)
    return _lines(series, ys, x_label, label, lambda size: human_bytes(round(size)))


def bars(values: Mapping[str, float], labels: Mapping[str, str], label: str) -> str:
    """Horizontal bars relative to the largest value."""
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
    """Horizontal bars from 0 to 1, each with its interval as a whisker and its value as text."""
    rows = []
    for number, (name, value) in enumerate(values.items()):
        top = _top(number)
        rows.append(
            _row_name(number, name)
            + f'<rect class="c0 soft" x="240" y="{top}" width="{max(1.0, 300 * value):.1f}" height="16"/>'
        )
        ends = intervals.get(name)
        if ends is not None:
            low, high = (240 + 300 * end for end in ends)
            rows.append(
                f'<path class="whisker" d="M{low:.1f} {top + 8}H{high:.1f}M{low:.1f} {top + 4}v8'
                f'M{high:.1f} {top + 4}v8"/>'
            )
        told = f"{value:.2f}" + (f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends is not None else "")
        rows.append(f'<text x="550" y="{top + 13}">{told}</text>')
    return _svg(rows, label, 12 + ROW * len(values), WIDTH + 40)


def parallel(axes: Sequence[Axis], scores: Sequence[float], label: str) -> str:
    """Parallel coordinates: a line a trial across its parameters, the better the stronger, the best on top.

    scores: the value of each trial, on the last axis.
    """
    if not axes or not scores:
        return ""
    last = Axis("value", scores)
    places = [_places(axis) for axis in (*axes, last)]
    gap = (WIDTH - 80) / len(axes)
    order = sorted(range(len(scores)), key=lambda trial: scores[trial])
    lines = []
    for rank, trial in enumerate(order):
        path = _broken_line([(40 + gap * at, own[trial]) for at, (own, _) in enumerate(places)])
        strength = f"t{min(4, 5 * rank // len(order))}" if rank < len(order) - 1 else "best"
        lines.append(f'<path class="{strength}" d="{path}"/>')
    for at, (axis, (_, ticks)) in enumerate(zip((*axes, last), places, strict=True)):
        x = 40 + gap * at
        lines.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{_y(0):.1f}"/>')
        lines += [
            f'<text x="{x + 4:.1f}" y="{_y(share) + 4:.1f}">{escape(name)}</text>' for share, name in ticks
        ]
        turned = f'transform="translate({x:.1f} {HEIGHT - 22}) rotate(20)"'  # names are long
        lines.append(f"<text {turned}>{escape(_short(axis.name))}</text>")
    return _svg(lines, label, HEIGHT + 50, WIDTH + 60)


def _places(axis: Axis) -> tuple[list[float | None], list[tuple[float, str]]]:
    """Where each trial is on an axis, and the axis' ticks."""
    known = [value for value in axis.values if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        numbers = [float(value) for value in known]
        scale = Scale(min(numbers, default=0.0), max(numbers, default=1.0), axis.logarithmic)
        told = set(numbers) if len(set(numbers)) <= 5 else {scale.low, scale.high}
        ticks = [(scale.share(value), f"{value:.3g}") for value in sorted(told)]
        return [None if v is None else scale.share(float(v)) for v in axis.values], ticks
    names = sorted({str(value) for value in known})
    shares = {name: (at + 0.5) / len(names) for at, name in enumerate(names)}
    return (
        [None if value is None else shares[str(value)] for value in axis.values],
        [(share, _short(name)) for name, share in shares.items()],
    )


def _broken_line(points: Sequence[tuple[float, float | None]]) -> str:
    """A path that leaves out the axes on which a trial is not."""
    path, pen = "", "M"
    for x, share in points:
        if share is None:
            pen = "M"
        else:
            path, pen = f"{path}{pen}{x:.0f} {_y(share):.0f}", "L"
    return path


def _short(name: str) -> str:
    """What tells a parameter from its siblings."""
    tail = ".".join(name.split(".")[-2:])
    return tail if len(tail) <= 26 else f"…{tail[-25:]}"


def _lines(
    series: Mapping[str, Sequence[Point]],
    ys: Scale,
    x_label: str,
    label: str,
    told: Callable[[float], str] | None = None,
) -> str:
    """Nothing where no line has a point; a line of one point is a dot."""
    drawn = {name: line for name, line in series.items() if line}
    if not drawn:
        return ""
    places = [x for line in drawn.values() for x, _ in line]
    xs, ends = Scale(min(places), max(places)), []
    body = [_frame(xs, ys, x_label, told)]
    for number, (name, line) in enumerate(drawn.items()):
        colour = f"c{number % COLOURS}"
        body.append(f'<polyline class="{colour}" points="{_path(line, xs, ys)}"/>')
        if len(line) == 1:
            body.append(_dot(line[0], xs, ys, colour))
        ends.append((_y(ys.share(line[-1][1])), name, colour))
    return _svg([*body, *_names(ends)], label)


def _frame(xs: Scale, ys: Scale, x_label: str, told: Callable[[float], str] | None = None) -> str:
    told = told or _tick
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    heights = [(value, _y(ys.share(value))) for value in ys.ticks()]
    grid = "".join(
        f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>'
        f'<text class="end" x="{LEFT - 6}" y="{y + 4:.1f}">{told(value)}</text>'
        for value, y in heights
    )
    ends = f'<text x="{LEFT}" y="{bottom + 16}">{xs.low:g}</text>'
    if xs.high > xs.low:
        ends += f'<text class="end" x="{right}" y="{bottom + 16}">{xs.high:g}</text>'
    return (
        f'{grid}{ends}<text class="middle" x="{(LEFT + right) / 2}" y="{HEIGHT - 6}">{escape(x_label)}</text>'
    )


def _names(ends: Sequence[tuple[float, str, str]]) -> list[str]:
    """The names of lines beside their ends, moved apart where they would meet."""
    body, free = [], -math.inf
    for y, name, colour in sorted(ends):
        free = max(y, free + 13)
        body.append(
            f'<text class="{colour}" x="{WIDTH - RIGHT + 6}" y="{free + 4:.1f}">{escape(name)}</text>'
        )
    return body


def _dot(point: Point, xs: Scale, ys: Scale, colour: str, told: str = "") -> str:
    x, y = _x(xs.share(point[0])), _y(ys.share(point[1]))
    title = f"<title>{escape(told)}</title>" if told else ""
    return f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3">{title}</circle>'


def _path(points: Sequence[Point], xs: Scale, ys: Scale) -> str:
    return " ".join(f"{_x(xs.share(x)):.1f},{_y(ys.share(y)):.1f}" for x, y in points)


def _row_name(number: int, name: str) -> str:
    return f'<text class="end" x="230" y="{_top(number) + 13}">{escape(_short(name))}</text>'


def _top(number: int) -> int:
    return 6 + number * ROW


def _step(span: float) -> float:
    """The round distance (1, 2 or 5 times a power of ten) that cuts a span into four to eight."""
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
