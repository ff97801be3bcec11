"""Rows as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from thriftune.units import human_bytes

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Row = Mapping[str, object] | DataclassInstance
    """A value of JSON for each column; a column of bytes ends in `_bytes`."""


def show(rows: Sequence[Row] | Row, as_json: bool, title: str) -> None:
    """Print rows as a table with a title, or as JSON.

    Args:
        rows: A line of the table each; a single one is shown as lines of name and value.
        as_json: Print JSON and no title.
        title: What the rows are.
    """
    found = _by_column(rows) if not isinstance(rows, Sequence) else [_by_column(row) for row in rows]
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if not found:
        click.echo(f"{title}: none")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=isinstance(found, list))
    if isinstance(found, list):
        columns = [key.removesuffix("_bytes") for key in found[0]]
        lines = [[_cell(key, value) for key, value in row.items()] for row in found]
    else:
        columns, lines = ["", ""], [[key, _cell(key, value)] for key, value in found.items()]
    for column in columns:
        table.add_column(column, overflow="fold")  # nothing is cut: people copy what they see
    for line in lines:
        table.add_row(*line)
    click.echo(f"{title}:")
    Console(markup=False, highlight=False).print(table)


def _by_column(row: Row) -> Mapping[str, object]:
    return row if isinstance(row, Mapping) else asdict(row)


def _cell(key: str, value: object) -> str:
    if key.endswith("bytes") and isinstance(value, int):
        return human_bytes(value)
    return "" if value is None else str(value)
