"""Sources of a corpus as tables: the sample, the user's files, or a data set on the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from thriftune import files
from thriftune.config import CorpusConfig, suggest
from thriftune.corpus.problems import quoted
from thriftune.corpus.tables import Row, Table, cell, how_to_name, no_such_file, read_table
from thriftune.corpus.types import SPLITS, SplitName
from thriftune.errors import DataError
from thriftune.hub import Hub, Repository

SAMPLE = Path(__file__).parent / "sample_data"
PINS = "revisions.json"
"""File in corpus.root with the commits of the hub's branches."""
OF_READY_SPLITS = ("*.parquet", "*.csv", "*.tsv", "*.jsonl", "*.json", "README.md")


class Revision(TypedDict, total=False):
    """Where the posts came from, as corpus.json has it; DataRevision is the same in a study's files."""

    source: str
    id: str | None
    """Of the data set on the hub."""
    revision: str
    """The branch, tag or commit that was asked for."""
    commit: str
    sha256: dict[str, str]
    """Of every file, by its name."""


@dataclass(frozen=True)
class Sources:
    """The files that a corpus is made from."""

    posts: Path | None
    """None: the posts are the ready splits in `folder`."""
    annotations: Path | None
    splits: Path | None = None
    folder: Path | None = None
    commit: str | None = None

    def revision(self, config: CorpusConfig) -> Revision:
        """Return where the data came from: source, commit, SHA-256 of every file.

        Args:
            config: The corpus section.
        """
        revision: Revision = {"source": config.source}
        if self.commit is not None:
            revision["id"], revision["revision"] = config.hub.id, config.hub.revision
            revision["commit"] = self.commit
        revision["sha256"] = {name: _hash(path) for name, path in self._files(config)}
        return revision

    def _files(self, config: CorpusConfig) -> Iterator[tuple[str, Path]]:
        if self.folder is not None and self.posts is None:
            for path in sorted(self.folder.rglob("*")):
                if path.is_file():
                    yield str(path.relative_to(self.folder)), path
        for name in ("posts", "annotations", "splits"):
            path = getattr(self, name)
            if path is not None:
                if not path.is_file():
                    raise no_such_file(path, f"corpus.files.{name}")
                yield name, path


def find_sources(config: CorpusConfig, hub: Hub | None = None) -> Sources:
    """Return the files of the configured source; files on the hub are downloaded if they are not cached.

    It is a ConfigError or an UnavailableError if the hub does not have them or cannot be reached.

    Args:
        config: The corpus section.
        hub: None for the usual one.
    """
    if config.source == "sample":
        return Sources(SAMPLE / "posts.csv", SAMPLE / "annotations.csv")
    if config.source == "files":
        own = config.files
        return Sources(own.posts_path, own.annotations_path, own.splits_path)
    asked = config.hub
    hub = hub or Hub(config.folder / PINS)
    repository = Repository("dataset", asked.id or "", asked.revision, "corpus.hub")
    named = [name for name in (asked.posts, asked.annotations) if name is not None]
    snapshot = hub.snapshot(repository, named or OF_READY_SPLITS, needed=named)
    posts, annotations = (
        snapshot.folder / name if name is not None else None for name in (asked.posts, asked.annotations)
    )
    return Sources(posts, annotations, folder=snapshot.folder, commit=snapshot.commit)


def _hash(path: Path) -> str:
    try:
        return files.sha256_file(path)
    except OSError as error:
        raise DataError(
            f"cannot be read: {error.strerror}", where=str(path), remedy="check its permissions and its disk."
        ) from error


@dataclass(frozen=True)
class Tables:
    """The tables that a corpus is made from; those in files are known to have the columns."""

    posts: tuple[Table, ...]
    annotations: Table | None
    splits: Table | None
    """post_id and split; None if the data have no splits, or each table of posts is one."""


def read_tables(config: CorpusConfig, sources: Sources) -> Tables:
    """Return the tables of the sources; DataError if one cannot be read or lacks a column.

    Args:
        config: The corpus section.
        sources: As find_sources returned them.
    """
    if sources.posts is None:
        return _ready_splits(config, sources)
    names, section = config.columns, "hub" if config.source == "hub" else "files"

    def columns(*fields: str) -> dict[str, str]:
        return {getattr(names, field): f"corpus.columns.{field}" for field in fields}

    def table(path: Path | None, columns: dict[str, str], name: str) -> Table | None:
        return None if path is None else read_table(path, columns, f"corpus.{section}.{name}")

    of_posts = columns("post_id", "text", *(["labels"] if names.labels else []))
    of_annotations = columns("post_id", "sentence", "criterion", "status")
    return Tables(
        (read_table(sources.posts, of_posts, f"corpus.{section}.posts"),),
        table(sources.annotations, of_annotations, "annotations"),
        table(sources.splits, columns("post_id") | {"split": ""}, "splits"),
    )


def _ready_splits(config: CorpusConfig, sources: Sources) -> Tables:
    """Return the splits of a data set as `datasets` reads them from its files."""
    named = [(split, getattr(config.hub.splits, split)) for split in SPLITS]
    tables = [
        Table(
            f"{config.hub.id}, split {name}", partial(_ready_rows, config, sources.folder, split, name), split
        )
        for split, name in named
        if name is not None
    ]
    return Tables(tuple(tables), None, None)


def _ready_rows(config: CorpusConfig, folder: Path | None, split: SplitName, name: str) -> Iterator[Row]:
    """Yield the posts of one split of a data set; DataError if it cannot be read."""
    import datasets

    last = None
    try:
        dataset = datasets.load_dataset(str(folder), config.hub.config, split=name, streaming=True)
        last = 0
        for last, cells in _rows(dataset, config, f"{config.hub.id}, split {name}", split):
            yield last, cells
    except (ValueError, TypeError, OSError, datasets.exceptions.DatasetsError) as error:
        if last is None:
            reason = " ".join(str(error).splitlines()[:2])  # the second line lists the splits
        else:
            reason = f"{type(error).__name__} after row {last}"  # its text may quote a post
        raise DataError(
            f"the split {name!r} of {config.hub.id} cannot be read: {reason}",
            where=f"corpus.hub.splits.{split}",
            remedy="set corpus.hub.splits.* to its splits (null: it has none) and corpus.hub.config to its "
            "configuration; or corpus.hub.posts and .annotations to two tables among its files.",
        ) from error


def _rows(dataset: Any, config: CorpusConfig, source: str, split: str) -> Iterator[Row]:
    """Yield the posts of a split; those without an id get one from split and row."""
    names = config.columns
    assert names.labels is not None
    decode = _label_names(dataset.features, names.labels)
    for number, row in enumerate(dataset, start=1):
        for field in ("text", "labels"):
            if (name := getattr(names, field)) not in row:
                raise DataError(
                    f"there is no column {name!r}{suggest(name, row)}; it has {', '.join(map(quoted, row))}",
                    where=source,
                    remedy=how_to_name(f"corpus.columns.{field}"),
                )
        yield (
            number,
            {
                names.post_id: cell(row.get(names.post_id)) or f"{split}-{number:07d}",
                names.text: cell(row[names.text]),
                names.labels: json.dumps(decode(row[names.labels], f"{source}, row {number}")),
            },
        )


def _label_names(features: Any, column: str | None) -> Any:
    """Return a function from a cell to a list of labels; numbers are looked up in the data set's names."""
    import datasets

    feature = (features or {}).get(column)
    inner = getattr(feature, "feature", feature)
    names = inner.names if isinstance(inner, datasets.ClassLabel) else None

    def decode(value: Any, place: str) -> list[str]:
        if isinstance(value, str):
            return listed(value)
        values = value if isinstance(value, list) else [] if value is None else [value]
        if names and any(isinstance(item, int) and not 0 <= item < len(names) for item in values):
            raise DataError(
                f"expected a label from 0 to {len(names) - 1}, found {values} (-1: it is not published)",
                where=place,
                remedy="set its corpus.hub.splits.* to null; that split is then cut from train.",
            )
        return [names[item] if names and isinstance(item, int) else cell(item) for item in values]

    return decode


def listed(text: str) -> list[str]:
    """Return the labels of a cell; TypeError if one is neither text nor a number.

    Args:
        text: A JSON list, or labels separated by `;`.
    """
    if text.lstrip().startswith("["):
        try:
            return [cell(item) for item in json.loads(text)]
        except (ValueError, RecursionError):
            pass
    return [part.strip() for part in text.split(";") if part.strip()]
