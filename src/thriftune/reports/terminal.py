"""A study's figures as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from thriftune.reports.summary import (
    FEWEST_FOR_IMPORTANCE,
    ListedStudy,
    StudySummary,
    TrialSummary,
    best_first,
)
from thriftune.units import human_bytes, human_seconds

SHOWN = 10


def print_list(rows: Sequence[ListedStudy], console: Console) -> None:
    """Print a line for each study.

    Args:
        rows: The studies.
        console: Where to print; no line is wider.
    """
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("name", overflow="fold")  # never cut: it is what the commands take
    for name in ("trials", "complete", "pruned", "fail", "best", "time", "held", "test"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["name"],
            row["trials"],
            *("" if count is None else str(count) for count in (row["complete"], row["pruned"], row["fail"])),
            _figure(row["best"]),
            "" if row["seconds"] is None else human_seconds(row["seconds"]),
            human_bytes(row["bytes"]),
            "damaged" if "problem" in row else "done" if row["evaluated"] else "",
        )
    console.print(table)
    for row in rows:
        if "problem" in row:
            _line(f"study {row['name']} is damaged: {row['problem']}", console)


def print_study(found: StudySummary, console: Console, *, every: bool) -> None:
    """Print totals, the best configuration, importances and the trials.

    Args:
        found: The study.
        console: Where to print; no line is wider.
        every: Whether to print every trial; else the best and the last SHOWN.
    """
    words = {"running": "interrupted"} if found.get("at_work") is False else {}
    _print_totals(found, words, console)
    _print_best(found, console)
    rows = found["trials"]
    if every or len(rows) <= 2 * SHOWN:
        _print_trials("trials", rows, words, console)
        return
    complete = [row for row in rows if row["state"] == "complete" and row["value"] is not None]
    _print_trials(f"the best {SHOWN}", sorted(complete, key=best_first)[:SHOWN], words, console)
    _print_trials(f"the last {SHOWN}; --all shows every one", rows[-SHOWN:], words, console)


def _print_totals(found: StudySummary, words: Mapping[str, str], console: Console) -> None:
    """Print trials by state, time and bytes; words: what to call a state."""
    states = ", ".join(f"{count} {words.get(s, s)}" for s, count in found["states"].items() if count)
    _line(
        f"study {found['name']}: {found['trials_over']} of {found['trials_in_all']} trials have ended"
        + (f" ({states})" if states else "")
        + (f"; the search ended: {found['ended']['reason']}" if found["ended"] else ""),
        console,
    )
    held, budget = human_bytes(found["bytes"]), human_bytes(found["budget_bytes"])
    _line(f"{human_seconds(found['seconds'])}; {held} of {budget} held", console)


def _print_best(found: StudySummary, console: Console) -> None:
    """Print the best trial's settings, and which parameters mattered."""
    best = found["best"]
    if best is not None:
        _pairs(
            f"best {found['metric']}: {_figure(best['value'])} of trial {best['trial']}, which sets",
            {key: _figure(value) for key, value in best["overrides"].items()},
            console,
        )
    if found["importances"] is not None:
        shares = {key: f"{share:4.0%}" for key, share in found["importances"].items()}
        _pairs("importance of each parameter for being among the best tenth of the trials", shares, console)
    elif best is not None:
        _line(f"importances: from {FEWEST_FOR_IMPORTANCE} complete trials that differ", console)


def _line(text: str, console: Console) -> None:
    console.print(text, highlight=False, markup=False)


def _pairs(title: str, values: Mapping[str, str], console: Console) -> None:
    width = max((len(key) for key in values), default=0)
    _line(title, console)
    for key, value in values.items():
        _line(f"  {key:<{width}}  {value}", console)


def _print_trials(
    title: str, rows: Sequence[TrialSummary], words: Mapping[str, str], console: Console
) -> None:
    """Print a line for each trial, cut where the terminal ends; words: what to call a state."""
    lines = [("trial", "state", "value", "epochs", "time", "held", "sets; why it ended")]
    for row in rows:
        sets = " ".join(f"{key.rpartition('.')[2]}={_figure(v)}" for key, v in row["overrides"].items())
        lines.append(
            (
                str(row["trial"]),
                words.get(row["state"], row["state"]),
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


def _figure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
