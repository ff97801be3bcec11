"""Reads the posts, annotations and splits tables; every cell is text, every row keeps its number."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thriftune.config import suggest
from thriftune.errors import DataError

FORMATS = (".csv", ".jsonl", ".parquet")
Row = tuple[int, dict[str, str]]
"""(1-based line or row number in the file, cells by column name)."""


@dataclass(frozen=True)
class Table:
    """A table in memory, cells as text (None becomes '')."""

    source: str
    rows: tuple[Row, ...]


def read_table(path: Path, columns: Sequence[str], key: str) -> Table:
    """Read the named columns of a CSV (UTF-8, with header), JSONL or Parquet table.

    Raises DataError where the file is missing, of another format, empty, not UTF-8, or lacks a
    column; `key` is the parameter that names the file.
    """
    if not path.is_file():
        raise DataError("there is no such file", where=str(path), remedy=f"set {key} to the table's path.")
    if path.suffix.lower() not in FORMATS:
        raise DataError(
            f"expected one of {', '.join(FORMATS)}, found {path.suffix or 'no suffix'}",
            where=str(path),
            remedy="convert the table, or give the file its proper suffix.",
        )
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    header, rows = readers[path.suffix.lower()](path)
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(
            "\n".join(f"there is no column {name!r}{suggest(name, header)}" for name in missing)
            + f"\nfound the columns {', '.join(header) or 'none'}",
            where=str(path),
            remedy="name the columns of your table by corpus.columns.*.",
        )
    if not rows:
        raise DataError("the table has no rows", where=str(path), remedy="fill it, or name another.")
    picked = tuple((number, {name: cells[name] for name in columns}) for number, cells in rows)
    return Table(str(path), picked)


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"expected UTF-8, found the byte 0x{content[error.start]:02x} at line {line} "
            f"(byte {error.start})",
            where=str(path),
            remedy="save the table as UTF-8.",
        ) from error


def _read_csv(path: Path) -> tuple[list[str], list[Row]]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), restval="")
    rows: list[Row] = []
    first_line = reader.line_num + 1
    try:
        header = list(reader.fieldnames or [])
        first_line = reader.line_num + 1
        for cells in reader:
            rows.append((first_line, {k: v or "" for k, v in cells.items() if k is not None}))
            first_line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"not a CSV table: {error}", where=f"{path}, line {first_line}") from error
    return header, rows


def _read_jsonl(path: Path) -> tuple[list[str], list[Row]]:
    rows: list[Row] = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except ValueError as error:
            raise DataError(
                f"expected one JSON object a line: {error}", where=f"{path}, line {number}"
            ) from error
        if not isinstance(cells, dict):
            raise DataError("expected a JSON object", where=f"{path}, line {number}")
        rows.append((number, {str(name): _cell(value) for name, value in cells.items()}))
    header = list(dict.fromkeys(name for _, cells in rows for name in cells))
    return header, [(number, dict.fromkeys(header, "") | cells) for number, cells in rows]


def _read_parquet(path: Path) -> tuple[list[str], list[Row]]:
    import pyarrow.parquet as parquet
    from pyarrow import ArrowInvalid

    try:
        table = parquet.read_table(path)
    except ArrowInvalid as error:
        raise DataError(f"not a Parquet table: {error}", where=str(path)) from error
    return list(table.column_names), [
        (number, {name: _cell(value) for name, value in cells.items()})
        for number, cells in enumerate(table.to_pylist(), start=1)
    ]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def places(table: Table) -> Iterator[tuple[str, dict[str, str]]]:
    """(place for a message, cells) of every row."""
    for number, cells in table.rows:
        yield f"{table.source}, row {number}", cells
