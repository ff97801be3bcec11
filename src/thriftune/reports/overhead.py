"""What the framework itself spends on each trial, against its limits.

Measured at a trial's end and written to its journal under `system/`; when the study is over, overhead.json
and overhead.html in its folder show how each figure went from the first trial to the last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import jinja2

from thriftune import files
from thriftune.reports.charts import curve
from thriftune.reports.page import style
from thriftune.tracking.keys import (
    FIGURES,
    HELD,
    MACHINE_PREFIX,
    MEMORY,
    OPEN_FILES,
    OWN,
    THREADS,
    TOTAL,
)
from thriftune.tracking.records import last_machine_rows
from thriftune.units import human_bytes

if TYPE_CHECKING:  # which imports torch
    from thriftune.checkpoints.store import CheckpointStore

OVERHEAD, PAGE = "overhead.json", "overhead.html"
TEMPLATE = Path(__file__).parent / "overhead.html.jinja"

SHOWN = {
    OWN: "Seconds of the framework's own a trial",
    TOTAL: "Seconds a trial, training and all",
    MEMORY: "Resident memory of the process, MB",
    HELD: "Bytes held on disk, MB",
    OPEN_FILES: "Open files",
    THREADS: "Threads",
}
MILLIONS = (MEMORY, HELD)

WINDOW = 10
"""Trials whose median counts: one that met a stalled disk is no growth."""
FEWEST = 3 * WINDOW
"""Trials under which nothing can be said of growth."""
OWN_LIMIT_SECONDS, GROWTH_LIMIT, MEMORY_LIMIT = 0.5, 2.0, 1.1


@dataclass(frozen=True)
class Check:
    """One limit, and whether it was kept."""

    name: str
    limit: float
    value: float | None
    """None where there are too few trials to tell."""

    @property
    def ok(self) -> bool | None:
        """None as of `value`."""
        return None if self.value is None else self.value <= self.limit


Rows = Sequence[dict[str, float]]


def checks(rows: Rows, budget_bytes: int) -> list[Check]:
    """The limits against the figures of trials, in order."""
    own = [row[OWN] for row in rows]
    windows = [median(own[at : at + WINDOW]) for at in range(max(1, len(own) - WINDOW + 1))] if own else []
    held = max((row[HELD] for row in rows), default=None)
    return [
        Check("own seconds, the highest median of ten trials", OWN_LIMIT_SECONDS, max(windows, default=None)),
        Check("own seconds, the last ten trials against trials 5 to 14", GROWTH_LIMIT, _growth(rows, OWN, 5)),
        Check("memory, the last ten trials against trials 10 to 19", MEMORY_LIMIT, _growth(rows, MEMORY)),
        Check("bytes on disk against the budget", 1.0, None if held is None else held / budget_bytes),
        Check("open files, the last ten trials against trials 10 to 19", 1.0, _growth(rows, OPEN_FILES)),
        Check("threads, the last ten trials against trials 10 to 19", 1.0, _growth(rows, THREADS)),
    ]


def _growth(rows: Rows, key: str, first: int = WINDOW) -> float | None:
    """The median of the last ten trials against that of ten trials from `first` on."""
    if len(rows) < FEWEST:
        return None
    early = median(row[key] for row in rows[first : first + WINDOW])
    return median(row[key] for row in rows[-WINDOW:]) / early


def summary(figures: Iterable[tuple[int, dict[str, float]]], budget_bytes: int) -> dict[str, Any]:
    """What overhead.json holds, of (trial, figures): a list a figure, and each limit."""
    known = [(number, row) for number, row in figures if row.keys() >= set(FIGURES)]
    rows = [row for _, row in known]
    return {
        "trials": [number for number, _ in known],
        **{key.removeprefix(MACHINE_PREFIX): [_rounded(row[key]) for row in rows] for key in FIGURES},
        "budget_bytes": budget_bytes,
        "checks": [{**asdict(check), "ok": check.ok} for check in checks(rows, budget_bytes)],
    }


def read_summary(journals: dict[int, Path], budget_bytes: int) -> dict[str, Any]:
    """The summary of a study, from the ends of its journals."""
    found = ((number, last_machine_rows(path)) for number, path in journals.items())
    return summary(found, budget_bytes)


def write_overhead(folder: Path, title: str, found: dict[str, Any], store: CheckpointStore) -> None:
    """Write overhead.json and overhead.html; OutOfStorageError where the budget has no room for them."""
    content = json.dumps(found, separators=(",", ":")).encode()
    page = render(title, found).encode()
    store.require_room(len(content) + len(page))
    files.write_bytes(folder / OVERHEAD, content)
    files.write_bytes(folder / PAGE, page)


def render(title: str, found: dict[str, Any]) -> str:
    """The page: each limit, and a curve a figure over the trials."""
    limits = {OWN: OWN_LIMIT_SECONDS, HELD: found["budget_bytes"]}
    charts = []
    for key, name in SHOWN.items():
        scale = 1e6 if key in MILLIONS else 1.0
        values = [value / scale for value in found[key.removeprefix(MACHINE_PREFIX)]]
        limit = limits[key] / scale if key in limits else None
        # A budget far above what is held would press the curve flat.
        drawn = limit if limit is not None and values and limit < 4 * max(values) else None
        points = list(zip(found["trials"], values, strict=True))
        charts.append((name, curve(points, "trial", f"{name}, over the trials", drawn)))
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        style=style(), title=title, found=found, charts=charts, budget=human_bytes(found["budget_bytes"])
    )


def _rounded(value: float) -> float | int:
    return int(value) if value == int(value) else round(value, 4)
