"""Rows of build/bench.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

BENCH = Path("build/bench.json")


@dataclass(frozen=True)
class Row:
    """One measurement beside its baseline; `ok` says whether the ratio meets the target."""

    name: str
    value: float
    unit: str
    baseline: float
    ratio: float
    target: str
    ok: bool | None
    """None where the size is only shown."""


def at_least(
    name: str, value: float, unit: str, baseline: float, target: float, *, shown: bool = False
) -> Row:
    """More is better."""
    ratio = value / baseline
    return Row(name, value, unit, baseline, ratio, f">= {target}", None if shown else ratio >= target)


def at_most(
    name: str, value: float, unit: str, baseline: float, target: float, *, shown: bool = False
) -> Row:
    """Less is better."""
    ratio = value / baseline
    return Row(name, value, unit, baseline, ratio, f"<= {target}", None if shown else ratio <= target)


def write(rows: list[Row], path: Path = BENCH) -> None:
    """Replace the rows of the same names, keep the others, and print a table."""
    from rich.console import Console
    from rich.table import Table

    path.parent.mkdir(exist_ok=True)
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    new = {row.name for row in rows}
    kept = [row for row in before if row["name"] not in new]
    path.write_text(json.dumps(kept + [asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    table = Table("name", "value", "baseline", "ratio", "target", "ok")
    for row in rows:
        verdict = {True: "yes", False: "NO", None: "shown"}[row.ok]
        table.add_row(
            row.name,
            f"{row.value:.4g} {row.unit}",
            f"{row.baseline:.4g}",
            f"{row.ratio:.3f}",
            row.target,
            verdict,
        )
    Console().print(table)
