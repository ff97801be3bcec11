"""Ingested corpora on disk: one folder per fingerprint, committed by a rename.

The test posts are in a file of their own. Nothing opens it before the evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from thriftune import files
from thriftune.corpus.posts import post_from_line
from thriftune.corpus.report import DataReport
from thriftune.corpus.types import SPLITS, Post, SplitName
from thriftune.corpus.writing import CORPUS, SPLITS_CSV
from thriftune.errors import DataError

if TYPE_CHECKING:
    from thriftune.corpus.sources import Revision

FORMAT = 1
CURRENT = "current.json"
_WORK = ".making-"
_LEFT = (_WORK, ".tmp-corpus_")
CONTENT = (*(f"{name}.jsonl" for name in SPLITS), SPLITS_CSV)
"""Files of a corpus, in the order in which its fingerprint hashes them."""


class _Record(TypedDict):
    """The content of corpus.json."""

    format: int
    fingerprint: str
    source_key: str
    criteria: list[str]
    counts: dict[str, int]
    revision: Revision
    files: dict[str, str]
    """SHA-256 by name."""


@dataclass(frozen=True)
class Corpus:
    """A handle on one ingested corpus."""

    folder: Path
    fingerprint: str
    """SHA-256 over criteria and the bytes of the three splits."""
    criteria: tuple[str, ...]
    counts: Mapping[str, int]
    """Posts by split."""
    revision: Revision
    """Where the data came from."""
    file_hashes: Mapping[str, str]
    """SHA-256 by file name."""

    def posts(self, split: SplitName) -> Iterator[Post]:
        """Yield the posts of one split, in order; no other split's file is opened.

        Args:
            split: The split.

        Raises:
            DataError: If the split's file is missing.
        """
        path = self.folder / f"{split}.jsonl"
        try:
            with path.open(encoding="utf-8") as handle:
                for line in handle:
                    yield post_from_line(line)
        except FileNotFoundError as error:
            raise DataError(
                f"the {split} split's file is gone",
                where=str(path),
                remedy="restore it, or run `kedro run --pipelines ingest` again.",
            ) from error

    def split_bytes(self, split: SplitName) -> int:
        """Return the size of a split's file, without opening it; 0 if it is missing.

        Args:
            split: The split.
        """
        path = self.folder / f"{split}.jsonl"
        return path.stat().st_size if path.exists() else 0

    def check(self, *splits: SplitName) -> None:
        """Raise unless the files of splits are what ingest wrote; figures would be those of other posts.

        Args:
            splits: The splits to check.

        Raises:
            DataError: If a file is missing or was changed.
        """
        for split in splits:
            path = self.folder / f"{split}.jsonl"
            if not path.is_file() or files.sha256_file(path) != self.file_hashes[path.name]:
                raise DataError(
                    f"the {split} split's file is gone, or is not what ingest wrote",
                    where=str(path),
                    remedy="restore it, or run `kedro run --pipelines ingest` again with the same sources.",
                )

    def data_report(self) -> DataReport:
        """Return the data report as ingest wrote it."""
        return cast(DataReport, files.read_json(self.folder / "report.json"))


class CorpusStore:
    """All ingested corpora below one folder.

    Args:
        root: The folder; it is created with the first corpus.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def find(self, source_key: str) -> Corpus | None:
        """Return the corpus made of exactly these sources and settings, if it is undamaged, else None.

        Args:
            source_key: Hash of the sources and settings.
        """
        for folder in sorted(self.root.glob("corpus_*")):
            record = _record(folder)
            if record is not None and record["source_key"] == source_key and _is_undamaged(folder, record):
                return _corpus(folder, record)
        return None

    def current(self) -> Corpus:
        """Return the corpus that was ingested last.

        Raises:
            DataError: If there is none.
        """
        try:
            fingerprint = files.read_json(self.root / CURRENT)["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                "no corpus has been ingested yet",
                where=str(self.root),
                remedy="run `kedro run --pipelines ingest` first.",
            ) from error
        return self.open(str(fingerprint))

    def set_current(self, corpus: Corpus) -> None:
        """Record which corpus was ingested last.

        Args:
            corpus: A corpus of this store.
        """
        with files.file_lock(self.root / CURRENT):
            files.write_json(self.root / CURRENT, {"fingerprint": corpus.fingerprint})

    def open(self, fingerprint: str) -> Corpus:
        """Return the corpus with a fingerprint.

        Args:
            fingerprint: The whole fingerprint, or at least its first 12 digits.

        Raises:
            DataError: If the store does not have it.
        """
        folder = self._folder(fingerprint)
        record = _record(folder)
        if record is None:
            raise DataError(
                f"there is no corpus {fingerprint[:12]}",
                where=str(folder),
                remedy="run `kedro run --pipelines ingest` with the corpus.* settings of the study.",
            )
        return _corpus(folder, record)

    @contextmanager
    def writing(self, source_key: str) -> Iterator[Path]:
        """Provide the folder to write a corpus in, to one process at a time.

        What a killed process wrote for the same sources is still there; what it wrote for others is removed.
        The folder is removed at the end.

        Args:
            source_key: Hash of the sources and settings.

        Yields:
            The folder.
        """
        folder = self.root / f"{_WORK}{source_key[:16]}"
        with files.file_lock(self.root / "corpora"):
            self._sweep(folder)
            files.make_directory(folder)
            yield folder
            self._sweep(None)

    def commit(
        self,
        folder: Path,
        criteria: Sequence[str],
        source_key: str,
        revision: Revision,
        report: DataReport,
    ) -> Corpus:
        """Commit what make_posts wrote, as a whole, by a rename.

        Args:
            folder: As writing() provided it.
            criteria: Names of the criteria, in order.
            source_key: Hash of the sources and settings.
            revision: Where the data came from.
            report: The data report.

        Returns:
            The corpus; if the store had one with the same posts, that one with this report.
        """
        finished = folder / CORPUS
        hashes = {name: files.sha256_file(finished / name) for name in CONTENT}
        fingerprint = files.sha256_json({"criteria": list(criteria), "files": hashes})
        files.write_json(finished / "report.json", {**report, "fingerprint": fingerprint})
        record: _Record = {
            "format": FORMAT,
            "fingerprint": fingerprint,
            "source_key": source_key,
            "criteria": list(criteria),
            "counts": report["posts"],
            "revision": revision,
            "files": hashes,
        }
        files.write_json(finished / "corpus.json", record)
        target = self._folder(fingerprint)
        there = _record(target)
        if there is not None and there["files"] == hashes and _is_undamaged(target, there):
            for name in ("report.json", "corpus.json"):  # the same posts from other sources
                files.rename(finished / name, target / name)
        else:
            files.remove_tree(target)
            files.rename(finished, target)
        return _corpus(target, record)

    def tidy(self) -> None:
        """Remove what a killed process left, unless a process is writing a corpus now."""
        if any(self._left()):
            with suppress(TimeoutError), files.file_lock(self.root / "corpora", wait=False):
                self._sweep(None)

    def _left(self) -> Iterator[Path]:
        return (path for path in self.root.glob(".*") if path.name.startswith(_LEFT))

    def _sweep(self, kept: Path | None) -> None:
        """Remove the folders of interrupted processes, except one."""
        for path in [*self._left()]:
            if path != kept:
                files.remove_tree(path)

    def _folder(self, fingerprint: str) -> Path:
        return self.root / f"corpus_{fingerprint[:12]}"


def _record(folder: Path) -> _Record | None:
    try:
        record = files.read_json(folder / "corpus.json")
    except (OSError, ValueError):
        return None
    return cast(_Record, record) if record.get("format") == FORMAT else None


def _is_undamaged(folder: Path, record: _Record) -> bool:
    return all(
        (folder / name).is_file() and files.sha256_file(folder / name) == wanted
        for name, wanted in record["files"].items()
    )


def _corpus(folder: Path, record: _Record) -> Corpus:
    return Corpus(
        folder=folder,
        fingerprint=record["fingerprint"],
        criteria=tuple(record["criteria"]),
        counts=record["counts"],
        revision=record["revision"],
        file_hashes=record["files"],
    )
