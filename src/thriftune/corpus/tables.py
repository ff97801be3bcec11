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
from thriftune.corpus.problems import Problems
from thriftune.errors import DataError

FORMATS = (".csv", ".jsonl", ".parquet")
ONE_A_LINE = "write each row as one JSON object on a line of its own."
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
        raise no_such_file(path, key)
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


def no_such_file(path: Path, key: str) -> DataError:
    """The error for a table that is not there; `key` is the parameter that names it."""
    found = "this is a folder, not a table" if path.is_dir() else "there is no such file"
    return DataError(found, where=str(path), remedy=f"set {key} to the table's path.")


def _text(path: Path) -> str:
    content = path.read_bytes()
    if (nul := content.find(b"\0")) >= 0:
        line = content[:nul].count(b"\n") + 1
        raise DataError(
            f"expected text, found a zero byte at line {line} (byte {nul})",
            where=str(path),
            remedy="save the table as UTF-8 text; a spreadsheet's own format is none.",
        )
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
    # strict: a stray quote would otherwise swallow the rows up to the next one.
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), restval="", strict=True)
    rows: list[Row] = []
    problems = Problems()
    first_line = reader.line_num + 1
    try:
        header = list(reader.fieldnames or [])
        first_line = reader.line_num + 1
        for cells in reader:
            surplus = cells.pop(None, None)
            if surplus:
                problems.add(
                    f"a row has more cells than the header ({len(header)}); is a text not quoted?",
                    f"{path}, row {first_line}: {len(header) + len(surplus)} cells",
                )
            rows.append((first_line, {name: value or "" for name, value in cells.items()}))
            first_line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"not a CSV table: {error}",
            where=f"{path}, row that begins at line {first_line}",
            remedy='put a text with quotes, commas or line ends in quotes, and double the quotes inside: "".',
        ) from error
    problems.raise_if_any()
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
                f"expected one JSON object a line: {error}", where=f"{path}, line {number}", remedy=ONE_A_LINE
            ) from error
        if not isinstance(cells, dict):
            raise DataError("expected a JSON object", where=f"{path}, line {number}", remedy=ONE_A_LINE)
        rows.append((number, {str(name): cell(value) for name, value in cells.items()}))
    header = list(dict.fromkeys(name for _, cells in rows for name in cells))
    return header, [(number, dict.fromkeys(header, "") | cells) for number, cells in rows]


def _read_parquet(path: Path) -> tuple[list[str], list[Row]]:
    import pyarrow.parquet as parquet
    from pyarrow import ArrowInvalid

    try:
        table = parquet.read_table(path)
    except ArrowInvalid as error:
        raise DataError(
            f"not a Parquet table: {error}",
            where=str(path),
            remedy="write it again, or give the file the suffix of what it is.",
        ) from error
    return list(table.column_names), [
        (number, {name: cell(value) for name, value in cells.items()})
        for number, cells in enumerate(table.to_pylist(), start=1)
    ]


def cell(value: Any) -> str:
    """A value as text: nothing is '', a list is JSON."""
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def places(table: Table) -> Iterator[tuple[str, dict[str, str]]]:
    """(place for a message, cells) of every row."""
    for number, cells in table.rows:
        yield f"{table.source}, row {number}", cells
