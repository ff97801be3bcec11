"""Small charts as inline SVG; no script, no external resource."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, MARGIN = 560, 220, 40
COLOURS = ("#3b6fb6", "#d1603d", "#4f9d69", "#8d5fb0", "#b8860b")


def line_chart(series: Mapping[str, Sequence[tuple[float, float]]], x_label: str) -> str:
    """Lines over a shared x axis; the y axis runs from 0 to 1."""
    points = [point for line in series.values() for point in line]
    if not points:
        return ""
    low, high = min(x for x, _ in points), max(x for x, _ in points)
    span = (high - low) or 1.0
    body = [_frame(x_label, low, high)]
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{_x((x - low) / span):.1f},{_y(y):.1f}" for x, y in line)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        body.append(
            f'<text x="{WIDTH - MARGIN + 4}" y="{MARGIN + 14 * number}" fill="{colour}">{escape(name)}</text>'
        )
    return _svg(body)


def scatter(points: Sequence[tuple[float, float]], x_label: str) -> str:
    """Points and the running maximum; the y axis runs from 0 to 1."""
    if not points:
        return ""
    low, high = points[0][0], points[-1][0]
    span = (high - low) or 1.0
    best, steps = 0.0, []
    body = [_frame(x_label, low, high)]
    for x, y in points:
        best = max(best, y)
        steps.append(f"{_x((x - low) / span):.1f},{_y(best):.1f}")
        body.append(f'<circle cx="{_x((x - low) / span):.1f}" cy="{_y(y):.1f}" r="3"/>')
    body.append(f'<polyline points="{" ".join(steps)}" fill="none" stroke="{COLOURS[1]}"/>')
    return _svg(body)


def curve(points: Sequence[tuple[float, float]], x_label: str, limit: float | None = None) -> str:
    """One line from 0 to its largest value, or to a limit that is drawn too."""
    if not points:
        return ""
    low, high = points[0][0], points[-1][0]
    top = max(limit or 0.0, *(y for _, y in points)) or 1.0
    span = (high - low) or 1.0
    path = " ".join(f"{_x((x - low) / span):.1f},{_y(y / top):.1f}" for x, y in points)
    body = [_frame(x_label, low, high, top), f'<polyline points="{path}"/>']
    if limit is not None:
        y = f"{_y(limit / top):.1f}"
        body.append(f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y}" y2="{y}" class="limit"/>')
    return _svg(body)


def bars(values: Mapping[str, float], labels: Mapping[str, str]) -> str:
    """Horizontal bars relative to the largest value."""
    largest = max(values.values(), default=0.0) or 1.0
    rows = []
    for number, (name, value) in enumerate(values.items()):
        y, length = 10 + number * 26, (WIDTH - 260) * value / largest
        rows.append(
            f'<text x="0" y="{y + 13}">{escape(name)}</text>'
            f'<rect x="130" y="{y}" width="{max(1.0, length):.1f}" height="18"/>'
            f'<text x="{140 + length:.1f}" y="{y + 13}">{escape(labels[name])}</text>'
        )
    return _svg(rows, 20 + 26 * len(values))


def _frame(x_label: str, low: float, high: float, top: float = 1.0) -> str:
    bottom, right = HEIGHT - MARGIN, WIDTH - MARGIN
    ticks = "".join(
        f'<text x="4" y="{_y(value) + 4:.1f}">{_tick(value * top)}</text>'
        f'<line x1="{MARGIN}" x2="{right}" y1="{_y(value):.1f}" y2="{_y(value):.1f}" class="grid"/>'
        for value in (0.0, 0.5, 1.0)
    )
    return (
        f'{ticks}<text x="{MARGIN}" y="{bottom + 16}">{low:g}</text>'
        f'<text x="{right - 10}" y="{bottom + 16}">{high:g}</text>'
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}">{escape(x_label)}</text>'
    )


def _tick(value: float) -> str:
    return f"{value:.1f}" if value <= 1 else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _svg(body: Sequence[str], height: int = HEIGHT) -> str:
    return f'<svg viewBox="0 0 {WIDTH + 60} {height}" role="img">{"".join(body)}</svg>'


def _x(share: float) -> float:
    return MARGIN + share * (WIDTH - 2 * MARGIN)


def _y(value: float) -> float:
    return HEIGHT - MARGIN - min(1.0, max(0.0, value)) * (HEIGHT - 2 * MARGIN)
