"""Pictures of what the retention plan does, drawn by running it: `{{ plan NAME }}` in a page becomes one."""

from __future__ import annotations

import re
from dataclasses import replace
from html import escape
from typing import Any

from thriftune.checkpoints.retention import CheckpointInfo, Key, Pressure, RetentionPolicy, plan

VALUES = ((0.41, 0.52, 0.50, 0.55), (0.47, 0.61, 0.58, 0.57), (0.44, 0.49, 0.60, 0.59))
"""Of each epoch of three trials."""
MODEL, WHOLE = 100, 300
"""Megabytes of a model alone, and with its optimizer (AdamW: two more numbers a weight)."""
ROOMS = {"roomy": None, "tight": 400}
"""Megabytes that checkpoints may hold in each picture; None: no limit."""
CELL, LEFT, TOP = 44, 150, 40

History = list[tuple[str, dict[Key, tuple[bool, str]]]]
"""After each save: its name, and of each checkpoint that is held whether it is whole, and why it is kept."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this for each page."""
    return re.sub(r"\{\{ plan (\w+) \}\}", lambda match: draw(simulate(ROOMS[match[1]])), markdown)


def simulate(room: int | None) -> History:
    """The study, by the very plan that the store executes."""
    held: dict[Key, CheckpointInfo] = {}
    history: History = []
    for trial, values in enumerate(VALUES):
        for epoch, value in enumerate(values, 1):
            held[trial, epoch] = CheckpointInfo(trial, epoch, value, True, MODEL, WHOLE)
            decided = plan(
                list(held.values()), RetentionPolicy(), Pressure(frozenset({trial}), room_bytes=room)
            )
            stripped = {key: replace(held[key], resumable=False, total_bytes=MODEL) for key in decided.strip}
            held = {key: stripped.get(key, held[key]) for key in (*decided.keep, *decided.strip)}
            why = decided.keep | decided.strip
            history.append((f"{trial}.{epoch}", {key: (held[key].resumable, why[key]) for key in held}))
    return history


def draw(history: History) -> str:
    """A row a checkpoint, a column a save: dark is whole, light the model alone, white gone."""
    keys = [(trial, epoch) for trial, values in enumerate(VALUES) for epoch in range(1, len(values) + 1)]
    width, height = LEFT + CELL * len(history) + 10, TOP + 22 * (len(keys) + 2)
    parts = []
    for column, (name, held) in enumerate(history):
        x = LEFT + CELL * column
        parts.append(_text(x + CELL / 2, TOP - 10, name, "middle"))
        for row, key in enumerate(keys):
            y = TOP + 22 * row
            whole, why = held.get(key, (False, "deleted, or not there yet"))
            kind = ("whole" if whole else "model") if key in held else "gone"
            title = f"<title>trial {key[0]}, epoch {key[1]} after the save of {name}: {escape(why)}</title>"
            parts.append(
                f'<rect x="{x + 2}" y="{y}" width="{CELL - 4}" height="18" class="{kind}">{title}</rect>'
            )
        total = sum(WHOLE if whole else MODEL for whole, _ in held.values())
        parts.append(_text(x + CELL / 2, TOP + 22 * len(keys) + 16, str(total), "middle"))
    for row, (trial, epoch) in enumerate(keys):
        label = f"trial {trial}, epoch {epoch}: {VALUES[trial][epoch - 1]:.2f}"
        parts.append(_text(LEFT - 8, TOP + 22 * row + 14, label, "end"))
    parts.append(_text(LEFT - 8, TOP - 10, "after saving", "end"))
    parts.append(_text(LEFT - 8, TOP + 22 * len(keys) + 16, "MB held", "end"))
    return (
        f'<svg class="plan" viewBox="0 0 {width} {height}" role="img" aria-label="which checkpoints are held '
        f'after each save">{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
