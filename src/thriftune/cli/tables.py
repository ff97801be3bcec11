"""Rows as a table or as JSON."""

from __future__ import annotations

import json
from typing import Any

import click


def show(rows: list[dict[str, Any]] | dict[str, Any], as_json: bool, title: str) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        click.echo(f"{title}: none")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=not isinstance(rows, dict))
    if isinstance(rows, dict):
        columns, lines = ["", ""], [[key, cell(key, value)] for key, value in rows.items()]
    else:
        columns = [key.removesuffix("_bytes") for key in rows[0]]
        lines = [[cell(key, value) for key, value in row.items()] for row in rows]
    for column in columns:
        table.add_column(column, overflow="fold")  # nothing is cut: people copy what they see
    for line in lines:
        table.add_row(*line)
    click.echo(f"{title}:")
    Console(markup=False, highlight=False).print(table)


def cell(key: str, value: Any) -> str:
    from thriftune.units import human_bytes

    if key.endswith("bytes") and isinstance(value, int):
        return human_bytes(value)
    return "" if value is None else str(value)
