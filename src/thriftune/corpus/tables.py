"""Tables of posts, annotations and splits, read row by row; cells are text, rows keep their number."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from thriftune.config import suggest
from thriftune.corpus.problems import Problems, quoted
from thriftune.corpus.types import SplitName
from thriftune.errors import DataError

ONE_PER_LINE = "write each row as one JSON object on a line of its own."
PARQUET_ROWS = 1024
"""Rows of a Parquet table in memory at once."""
Row = tuple[int, dict[str, str]]
"""(1-based line or row number in the file, cells by column name)."""


@dataclass(frozen=True)
class Table:
    """A table that is read from the start each time its rows are asked for; None becomes ""."""

    source: str
    """Its name in messages."""
    read: Callable[[], Iterator[Row]]
    split: SplitName | None = None
    """The split of all its posts; None if it has posts of several."""

    @property
    def rows(self) -> Iterator[Row]:
        """All rows from the first; iteration raises DataError at one that cannot be read."""
        return self.read()

    def place(self, number: int) -> str:
        """Return the place of a row for a message.

        Args:
            number: The row's number.
        """
        return f"{self.source}, row {number}"


Columns = Mapping[str, str]
"""The columns to read, each with the parameter that names it; "" if its name is fixed."""


def read_table(path: Path, columns: Columns, key: str) -> Table:
    """Return a CSV (UTF-8, with header), JSONL or Parquet table; later rows are checked when they are read.

    Args:
        path: The file.
        columns: The columns to read.
        key: The parameter that names the file.

    Raises:
        DataError: If the file is missing, has another format, is empty, or lacks a column.
    """
    if not path.is_file():
        missing = no_such_file(path, key)
        raise missing
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"expected one of {', '.join(_READERS)}, found {path.suffix or 'no suffix'}",
            where=str(path),
            remedy="convert the table, or give the file its proper suffix.",
        )
    table = Table(str(path), partial(reader, path, columns))
    if next(table.rows, None) is None:
        raise DataError("the table has no rows", where=str(path), remedy="fill it, or name another.")
    return table


def no_such_file(path: Path, key: str) -> DataError:
    """Return the error for a missing table.

    Args:
        path: Where it was expected.
        key: The parameter that names the file.
    """
    if path.is_dir():
        found = "this is a folder, not a table"
    else:  # a pipe, say, cannot be read twice
        found = "this is not a regular file" if path.exists() else "there is no such file"
    return DataError(found, where=str(path), remedy=f"set {key} to the table's path.")


def _require(columns: Columns, header: Sequence[str], path: Path) -> None:
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise DataError(
            f"there are two columns {twice[0]!r}", where=str(path), remedy="remove or rename one of them."
        )
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(
            "\n".join(f"there is no column {name!r}{suggest(name, header)}" for name in missing)
            + f"\nfound the columns {', '.join(map(quoted, header)) or 'none'}",
            where=str(path),
            remedy=how_to_name(*(columns[name] for name in missing)),
        )


def how_to_name(*keys: str) -> str:
    """Return what to do if columns are missing.

    Args:
        keys: The parameters that name them; "" for a column with a fixed name.
    """
    named = ", ".join(f"{key}=..." for key in keys if key)
    return f"name yours: {named}" if named else "rename yours."


def _lines(path: Path, newline: str) -> Iterator[str]:
    """Yield the lines of a UTF-8 file with their ends; newline as for open()."""
    with path.open(encoding="utf-8-sig", newline=newline) as handle:
        try:
            for line in handle:
                if "\0" in line:
                    _raise_not_text(path)
                yield line
        except UnicodeDecodeError:
            _raise_not_text(path)


def _raise_not_text(path: Path) -> NoReturn:
    """Raise DataError for the first byte of a file that is not UTF-8 text."""
    first = 0
    with path.open("rb") as handle:
        for number, raw in enumerate(handle, start=1):
            if (nul := raw.find(b"\0")) >= 0:
                raise DataError(
                    f"expected text, found a zero byte at line {number} (byte {first + nul})",
                    where=str(path),
                    remedy="save the table as UTF-8 text, not in a spreadsheet's own format.",
                )
            try:
                raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"expected UTF-8, found the byte 0x{raw[error.start]:02x} at line {number} "
                    f"(byte {first + error.start})",
                    where=str(path),
                    remedy="save the table as UTF-8.",
                ) from error
            first += len(raw)
    raise DataError("the table changed while it was read", where=str(path), remedy="run the command again.")


def _read_csv(path: Path, columns: Columns) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)
    # strict: a stray quote would otherwise swallow the rows up to the next one.
    reader = csv.DictReader(_lines(path, newline=""), restval="", strict=True)
    problems = Problems()
    first_line = reader.line_num + 1
    try:
        header = list(reader.fieldnames or [])
        _require(columns, header, path)
        first_line = reader.line_num + 1
        for cells in reader:
            surplus = cells.pop(None, None)
            if surplus:
                problems.add(
                    f"a row has more cells than the header ({len(header)}); is a text not quoted?",
                    f"{path}, row {first_line}: {len(header) + len(surplus)} cells",
                )
            yield first_line, {name: cells[name] or "" for name in columns}
            first_line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"not a CSV table: {error}",
            where=f"{path}, row that begins at line {first_line}",
            remedy='put a text with quotes, commas or line ends in quotes, and double the quotes inside: "".',
        ) from error
    problems.raise_if_any()


def _read_jsonl(path: Path, columns: Columns) -> Iterator[Row]:
    header: dict[str, None] = {}
    for number, line in enumerate(_lines(path, newline="\n"), start=1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"expected one JSON object per line: {error}",
                where=f"{path}, line {number}",
                remedy=ONE_PER_LINE,
            ) from error
        if not isinstance(cells, dict):
            raise DataError("expected a JSON object", where=f"{path}, line {number}", remedy=ONE_PER_LINE)
        header |= dict.fromkeys(cells)
        yield number, _cells(cells, columns, f"{path}, line {number}")
    if header:  # a row may lack what another one has
        _require(columns, list(header), path)


def _read_parquet(path: Path, columns: Columns) -> Iterator[Row]:
    import pyarrow.parquet as parquet
    from pyarrow import ArrowException

    number = 0
    try:
        with parquet.ParquetFile(path) as table:
            _require(columns, table.schema_arrow.names, path)
            for batch in table.iter_batches(PARQUET_ROWS, columns=list(columns)):
                for cells in batch.to_pylist():
                    number += 1
                    yield number, _cells(cells, columns, f"{path}, row {number}")
    except (ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        raise DataError(
            f"not a Parquet table, or a damaged one, after row {number}: {error}",
            where=str(path),
            remedy="write it again, or give the file the suffix of its format.",
        ) from error


_READERS = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}


def _cells(cells: Mapping[str, Any], columns: Columns, place: str) -> dict[str, str]:
    try:
        return {name: cell(cells.get(name)) for name in columns}
    except TypeError as error:
        raise DataError(
            str(error), where=place, remedy="write it as text, a number or, for labels, a list."
        ) from error


def cell(value: Any) -> str:
    """Return a value as text: "" for None and NaN, JSON for a list.

    Args:
        value: A cell as JSON, Parquet or `datasets` has it.

    Raises:
        TypeError: If it is an object, bytes or a truth value.
    """
    if isinstance(value, dict | bytes | bool):
        raise TypeError(f"expected text or a number, found {type(value).__name__}")
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
