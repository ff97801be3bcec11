"""Rows as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import click

from thriftune.units import human_bytes

Row = Mapping[str, object]
"""A value of JSON for each column; a column of bytes ends in `_bytes`."""


def show(rows: Sequence[Row] | Row, as_json: bool, title: str) -> None:
    """Print rows as a table with a title, or as JSON.

    Args:
        rows: A line of the table each; a single one is shown as lines of name and value.
        as_json: Print JSON and no title.
        title: What the rows are.
    """
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        click.echo(f"{title}: none")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=not isinstance(rows, Mapping))
    if isinstance(rows, Mapping):
        columns, lines = ["", ""], [[key, _cell(key, value)] for key, value in rows.items()]
    else:
        columns = [key.removesuffix("_bytes") for key in rows[0]]
        lines = [[_cell(key, value) for key, value in row.items()] for row in rows]
    for column in columns:
        table.add_column(column, overflow="fold")  # nothing is cut: people copy what they see
    for line in lines:
        table.add_row(*line)
    click.echo(f"{title}:")
    Console(markup=False, highlight=False).print(table)


def _cell(key: str, value: object) -> str:
    if key.endswith("bytes") and isinstance(value, int):
        return human_bytes(value)
    return "" if value is None else str(value)
