"""Tokenised posts of a split, read from memory-mapped files one at a time."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, overload

import datasets
import pyarrow as pa

from thriftune.dual_agent.batch import TokenisedPost


class Row(TokenisedPost):
    """A tokenised post as it is stored; see corpus.tokens.FEATURES for the types."""

    post_id: str
    evidence: list[list[int]]
    """[criterion, start, end] of each aligned piece of evidence, in characters, end exclusive."""
    words: list[list[int]]
    """[start, end] characters of each run of word characters."""


class TokenisedRows(Sequence[Row]):
    """The rows of a split, which stay on disk: memory holds 4 bytes a post, and the rows in use.

    Args:
        dataset: As TokenisedStore.get returns it.
    """

    def __init__(self, dataset: datasets.Dataset) -> None:
        self._batches: list[pa.RecordBatch] = dataset.data.table.to_batches()
        self._ends = list(accumulate(batch.num_rows for batch in self._batches))
        self.lengths = array("i")
        for batch in self._batches:
            self.lengths.extend(_token_counts(batch.column("input_ids")))

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        place = bisect_right(self._ends, number)
        batch = self._batches[place]
        row: Row = batch.slice(number - (self._ends[place] - batch.num_rows), 1).to_pylist()[0]
        return row

    def __iter__(self) -> Iterator[Row]:
        for batch in self._batches:
            yield from batch.to_pylist()

    def column(self, name: str) -> Iterator[Any]:
        """Yield one value of each row, without reading the others.

        Args:
            name: A key of Row.
        """
        for batch in self._batches:
            yield from batch.column(name).to_pylist()


def token_counts(rows: Sequence[Row]) -> Sequence[int]:
    """Return the number of tokens of each row, int32; tokens of several windows count in each of them.

    Args:
        rows: Tokenised posts.
    """
    if isinstance(rows, TokenisedRows):
        return rows.lengths
    return array("i", (sum(map(len, row["input_ids"])) for row in rows))


def column(rows: Sequence[Row], name: str) -> Iterator[Any]:
    """Return an iterator over one value of each row.

    Args:
        rows: Tokenised posts; of TokenisedRows, no other value is read.
        name: A key of Row.
    """
    if isinstance(rows, TokenisedRows):
        return rows.column(name)
    return (row[name] for row in rows)  # type: ignore[literal-required]


def _token_counts(windows: pa.ListArray) -> list[int]:
    """Count the tokens of each post by the offsets alone, without reading a token."""
    ends = windows.flatten().offsets.to_numpy()
    counts: list[int] = (ends[_offsets(windows)[1:]] - ends[_offsets(windows)[:-1]]).tolist()
    return counts


def _offsets(values: pa.ListArray) -> Any:
    """Return where each list begins and the last one ends in the flattened values, [lists + 1] int32."""
    offsets = values.offsets.to_numpy()
    return offsets - offsets[0]  # those of a slice do not begin at 0
