"""A study's figures as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from thriftune.reports.summary import FEWEST_FOR_IMPORTANCE, STATES, Row, best_first
from thriftune.units import human_bytes, human_seconds

SHOWN = 10


def print_list(rows: Sequence[Row], console: Console) -> None:
    """A line a study."""
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("name", overflow="fold")  # never cut: it is what the commands take
    for name in ("trials", "complete", "pruned", "fail", "best", "time", "held", "test"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["name"],
            row["trials"],
            *("" if row[state] is None else str(row[state]) for state in STATES[:-1]),
            _figure(row["best"]),
            "" if row["seconds"] is None else human_seconds(row["seconds"]),
            human_bytes(row["bytes"]),
            "damaged" if "problem" in row else "done" if row["evaluated"] else "",
        )
    console.print(table)
    for row in rows:
        if "problem" in row:
            _line(f"study {row['name']} is damaged: {row['problem']}", console)


def print_study(found: Row, console: Console, *, every: bool) -> None:
    """Totals, the best configuration, importances, then the best trials and the last, or every one."""
    words = {"running": "interrupted"} if found.get("at_work") is False else {}
    states = ", ".join(f"{count} {words.get(s, s)}" for s, count in found["states"].items() if count)
    budget = human_bytes(found["budget_bytes"])
    _line(
        f"study {found['name']}: {found['trials_over']} of {found['trials_in_all']} trials are over"
        + (f" ({states})" if states else "")
        + (f"; it ended: {found['ended']}" if found["ended"] else ""),
        console,
    )
    _line(f"{human_seconds(found['seconds'])}; {human_bytes(found['bytes'])} of {budget} held", console)
    best = found["best"]
    rows = [{**row, "state": words.get(row["state"], row["state"])} for row in found["trials"]]
    if best is not None:
        _pairs(
            f"best {found['metric']}: {_figure(best['value'])} of trial {best['trial']}, which sets",
            {key: _figure(value) for key, value in best["overrides"].items()},
            console,
        )
    if found["importances"] is not None:
        shares = {key: f"{share:4.0%}" for key, share in found["importances"].items()}
        _pairs("what told the best tenth of the trials from all", shares, console)
    elif best is not None:
        _line(f"importances: from {FEWEST_FOR_IMPORTANCE} complete trials that differ", console)
    if every or len(rows) <= 2 * SHOWN:
        _trials("trials", rows, console)
        return
    valued = sorted((row for row in rows if row["value"] is not None), key=best_first)
    _trials(f"the best {SHOWN}", [row for row in valued if row["state"] == "complete"][:SHOWN], console)
    _trials(f"the last {SHOWN}; --all shows every one", rows[-SHOWN:], console)


def _line(text: str, console: Console) -> None:
    console.print(text, highlight=False, markup=False)


def _pairs(title: str, values: Mapping[str, str], console: Console) -> None:
    width = max((len(key) for key in values), default=0)
    _line(title, console)
    for key, value in values.items():
        _line(f"  {key:<{width}}  {value}", console)


def _trials(title: str, rows: Sequence[Row], console: Console) -> None:
    """A line a trial, its end cut where the terminal ends."""
    lines = [("trial", "state", "value", "epochs", "time", "held", "sets; why it ended")]
    for row in rows:
        sets = " ".join(f"{key.rpartition('.')[2]}={_figure(v)}" for key, v in row["overrides"].items())
        lines.append(
            (
                str(row["trial"]),
                row["state"],
                _figure(row["value"]),
                str(row["epochs"]),
                "" if row["seconds"] is None else human_seconds(row["seconds"]),
                human_bytes(row["bytes"]),
                f"{row['reason']}; {sets}" if row["reason"] else sets,
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    _line(f"\n{title}", console)
    for *cells, last in lines:
        text = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        console.print(
            f"{text}  {last}", overflow="ellipsis", no_wrap=True, crop=True, highlight=False, markup=False
        )


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
