"""Ingested corpora on disk: one folder a fingerprint, committed by a rename.

The test posts stand in a file of their own, which only the evaluation opens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thriftune import files
from thriftune.corpus.posts import post_from_line
from thriftune.corpus.types import SPLITS, Post, SplitName
from thriftune.corpus.writing import CORPUS, SPLITS_CSV
from thriftune.errors import DataError

FORMAT = 1
CURRENT = "current.json"
_WORK = ".making-"
_LEFT = (_WORK, ".tmp-corpus_")
CONTENT = (*(f"{name}.jsonl" for name in SPLITS), SPLITS_CSV)
"""Files that are the corpus, in the order of its fingerprint."""


@dataclass(frozen=True)
class Corpus:
    """A handle on one ingested corpus."""

    folder: Path
    fingerprint: str
    """SHA-256 over criteria and the bytes of the three splits."""
    criteria: tuple[str, ...]
    counts: Mapping[str, int]
    revision: Mapping[str, Any]
    """Where the data came from: source and the SHA-256 of its tables."""
    file_hashes: Mapping[str, str]

    def posts(self, split: SplitName) -> Iterator[Post]:
        """The posts of one split, in order; opens that split's file only."""
        path = self.folder / f"{split}.jsonl"
        try:
            with path.open(encoding="utf-8") as handle:
                for line in handle:
                    yield post_from_line(line)
        except FileNotFoundError as error:
            raise DataError(
                f"the {split} split's file is gone",
                where=str(path),
                remedy="put it back, or run `kedro run --pipelines ingest` again.",
            ) from error

    def split_bytes(self, split: SplitName) -> int:
        """Size of a split's file, which is not opened; 0 where it is away."""
        path = self.folder / f"{split}.jsonl"
        return path.stat().st_size if path.exists() else 0

    def check(self, *splits: SplitName) -> None:
        """DataError where a split's file is not what ingest wrote: figures would be those of other posts."""
        for split in splits:
            path = self.folder / f"{split}.jsonl"
            if not path.is_file() or files.sha256_file(path) != self.file_hashes[path.name]:
                raise DataError(
                    f"the {split} split's file is gone, or is not what ingest wrote",
                    where=str(path),
                    remedy="put it back, or run `kedro run --pipelines ingest` again with the same sources.",
                )

    def data_report(self) -> dict[str, Any]:
        """The data report as ingest wrote it."""
        report: dict[str, Any] = files.read_json(self.folder / "report.json")
        return report


class CorpusStore:
    """All ingested corpora below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def find(self, source_key: str) -> Corpus | None:
        """The corpus that was made from these very sources and settings, if all of it is whole."""
        for folder in sorted(self.root.glob("corpus_*")):
            record = _record(folder)
            if record is not None and record["source_key"] == source_key and _whole(folder, record):
                return _corpus(folder, record)
        return None

    def current(self) -> Corpus:
        """The corpus that was ingested last; DataError where there is none."""
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
        """Note which corpus was ingested last."""
        with files.file_lock(self.root / CURRENT):
            files.write_json(self.root / CURRENT, {"fingerprint": corpus.fingerprint})

    def open(self, fingerprint: str) -> Corpus:
        """The corpus of a fingerprint; DataError where it is not there."""
        folder = self._folder(fingerprint)
        record = _record(folder)
        if record is None:
            raise DataError(
                f"the corpus {fingerprint[:12]} is not there",
                where=str(folder),
                remedy="run `kedro run --pipelines ingest` with the corpus.* settings of the study.",
            )
        return _corpus(folder, record)

    @contextmanager
    def making(self, source_key: str) -> Iterator[Path]:
        """The folder in which the corpus of a source is made, one process at a time; what was made of it
        before a kill is still there, that of other sources is not. It goes with the corpus' commit."""
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
        revision: Mapping[str, Any],
        report: Mapping[str, Any],
    ) -> Corpus:
        """Make a corpus of what make_posts left in a folder: whole, by a rename."""
        made = folder / CORPUS
        hashes = {name: files.sha256_file(made / name) for name in CONTENT}
        fingerprint = files.sha256_json({"criteria": list(criteria), "files": hashes})
        files.write_json(made / "report.json", dict(report) | {"fingerprint": fingerprint})
        record = {
            "format": FORMAT,
            "fingerprint": fingerprint,
            "source_key": source_key,
            "criteria": list(criteria),
            "counts": report["posts"],
            "revision": dict(revision),
            "files": hashes,
        }
        files.write_json(made / "corpus.json", record)
        target = self._folder(fingerprint)
        there = _record(target)
        if there is not None and there["files"] == hashes and _whole(target, there):
            for name in ("report.json", "corpus.json"):  # the same from other sources
                files.rename(made / name, target / name)
        else:
            files.remove_tree(target)
            files.rename(made, target)
        return _corpus(target, record)

    def tidy(self) -> None:
        """Remove what a kill left behind the commit of a corpus; unless a process is at work."""
        if any(self._left()):
            with suppress(TimeoutError), files.file_lock(self.root / "corpora", wait=False):
                self._sweep(None)

    def _left(self) -> Iterator[Path]:
        return (path for path in self.root.glob(".*") if path.name.startswith(_LEFT))

    def _sweep(self, kept: Path | None) -> None:
        """Remove what interrupted processes left of other sources."""
        for path in [*self._left()]:
            if path != kept:
                files.remove_tree(path)

    def _folder(self, fingerprint: str) -> Path:
        return self.root / f"corpus_{fingerprint[:12]}"


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = files.read_json(folder / "corpus.json")
    except (OSError, ValueError):
        return None
    return record if record.get("format") == FORMAT else None


def _whole(folder: Path, record: Mapping[str, Any]) -> bool:
    return all(
        (folder / name).is_file() and files.sha256_file(folder / name) == wanted
        for name, wanted in record["files"].items()
    )


def _corpus(folder: Path, record: Mapping[str, Any]) -> Corpus:
    return Corpus(
        folder=folder,
        fingerprint=record["fingerprint"],
        criteria=tuple(record["criteria"]),
        counts=record["counts"],
        revision=record["revision"],
        file_hashes=record["files"],
    )
