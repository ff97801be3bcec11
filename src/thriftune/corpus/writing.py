"""The second pass over the posts: each is cut into sentences, aligned and appended to its split's file.

Progress is recorded every few megabytes, after the bytes are durable. After a kill, the work resumes from the
last record, and what was written after it is cut off.
"""

from __future__ import annotations

import csv
import io
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import NoReturn

import numpy as np

from thriftune import files
from thriftune.config import CorpusConfig
from thriftune.corpus.align import NO_SENTENCE, Aligner
from thriftune.corpus.annotation_spool import Annotation
from thriftune.corpus.posts import post_to_line
from thriftune.corpus.reading import Plan, text_key
from thriftune.corpus.tables import Table
from thriftune.corpus.types import SPLITS, Evidence, Post
from thriftune.dual_agent.sentences import split_sentences
from thriftune.errors import DataError
from thriftune.observe.progress import counted

BATCH_BYTES = 1 << 23
NOTE, SENTENCES = "made.json", "sentences.u32"
SPLITS_CSV = "splits.csv"
CORPUS = "corpus"
"""Folder that becomes the corpus; the files beside it are needed only meanwhile."""


@dataclass
class IngestProgress:
    """The part of a corpus that is on disk."""

    posts: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of each file, by its path in the folder."""
    alignment: dict[str, int] = field(default_factory=dict)
    """Annotations by how their sentence was found, see Found."""
    shared: int = 0
    """Annotated sentences that got the place of a different one."""


def _split_file(name: str) -> str:
    """Return the path of a split's posts."""
    return f"{CORPUS}/{name}.jsonl"


def _ids_file(name: str) -> str:
    return f"{name}.csv"


FILES = (*map(_split_file, SPLITS), *map(_ids_file, SPLITS), SENTENCES)


def make_posts(folder: Path, tables: Sequence[Table], plan: Plan, config: CorpusConfig) -> IngestProgress:
    """Return the counts of a corpus, after writing its posts from where a killed call stopped.

    It is a DataError if the tables have changed since the first pass.

    Args:
        folder: As CorpusStore.writing provides it.
        tables: The posts.
        plan: The result of the first pass.
        config: The corpus section.
    """
    progress = _resume(folder)
    batch = {name: io.BytesIO() for name in FILES}
    alignment = Counter(progress.alignment)
    rows = plan.annotations.by_post(progress.posts)
    following = next(rows, None)
    todo = islice(enumerate(_texts(tables, config)), progress.posts, None)
    for number, (post_id, text) in counted(todo, "aligned", len(plan.splits), progress.posts):
        if number >= len(plan.splits) or text_key(text) != plan.text_keys[number].tobytes():
            _raise_changed(tables)
        own: list[Annotation] = []
        if following is not None and following[0] == number:
            own = following[1]
            following = next(rows, None)
        criteria = tuple(name for name, met in zip(plan.criteria, plan.met[number], strict=True) if met)
        post, shared = _post(post_id, text, criteria, own, config.alignment_threshold)
        progress.shared += shared
        alignment.update(item.found for item in post.evidence)
        split = SPLITS[plan.splits[number]]
        batch[_split_file(split)].write(f"{post_to_line(post)}\n".encode())
        batch[_ids_file(split)].write(_csv_row(post_id, split))
        batch[SENTENCES].write(array("I", [len(post.sentences)]).tobytes())
        progress.posts = number + 1
        if sum(buffer.tell() for buffer in batch.values()) >= BATCH_BYTES:
            _flush(folder, progress, alignment, batch)
    if progress.posts != len(plan.splits):
        _raise_changed(tables)
    _flush(folder, progress, alignment, batch)
    _write_splits(folder)
    return progress


def sentence_counts(folder: Path) -> np.ndarray:
    """Return the number of candidate sentences of each post, `[posts]` uint32.

    Args:
        folder: The folder that make_posts has filled.
    """
    return np.fromfile(folder / SENTENCES, dtype=np.uint32)


def _texts(tables: Sequence[Table], config: CorpusConfig) -> Iterator[tuple[str, str]]:
    for table in tables:
        for _, cells in table.rows:
            yield cells[config.columns.post_id], cells[config.columns.text]


def _post(
    post_id: str, text: str, criteria: tuple[str, ...], annotations: Sequence[Annotation], threshold: float
) -> tuple[Post, int]:
    """Return a post, and how many of its annotated sentences got the place of a different one."""
    sentences = split_sentences(text)
    if not annotations:
        return Post(post_id, text, criteria, (), sentences), 0
    aligner = Aligner(text, sentences, threshold)
    evidence = []
    for criterion, sentence, status in annotations:
        place = aligner.align(sentence, criterion) if sentence else NO_SENTENCE
        evidence.append(Evidence(criterion, status, place.start, place.end, place.found, place.similarity))
    return Post(post_id, text, criteria, tuple(evidence), sentences), aligner.shared


def _resume(folder: Path) -> IngestProgress:
    """Return the recorded progress after cutting the files to it; none if anything is damaged."""
    try:
        progress = IngestProgress(**files.read_json(folder / NOTE))
        whole = all((folder / name).stat().st_size >= progress.sizes[name] for name in FILES)
    except (OSError, ValueError, KeyError, TypeError):
        progress, whole = IngestProgress(), False
    if not whole:
        progress = IngestProgress(sizes=dict.fromkeys(FILES, 0))
    files.make_directory(folder / CORPUS)
    for name in FILES:
        with (folder / name).open("ab") as handle:
            handle.truncate(progress.sizes[name])
    return progress


def _flush(
    folder: Path, progress: IngestProgress, alignment: Mapping[str, int], batch: Mapping[str, io.BytesIO]
) -> None:
    """Append the batch to the files, make them durable, and record the progress."""
    for name, buffer in batch.items():
        if buffer.tell():
            files.append_bytes(folder / name, buffer.getvalue())
            progress.sizes[name] += buffer.tell()
            buffer.seek(0)
            buffer.truncate()
    files.fsync_directory(folder / CORPUS)
    progress.alignment = dict(sorted(alignment.items()))
    files.write_json(folder / NOTE, asdict(progress))


def _write_splits(folder: Path) -> None:
    """Write the table of posts and their splits."""
    with files.replacing(folder / CORPUS / SPLITS_CSV) as target:
        target.write(_csv_row("post_id", "split"))
        for name in SPLITS:
            with (folder / _ids_file(name)).open("rb") as handle:
                while chunk := handle.read(BATCH_BYTES):
                    target.write(chunk)


def _csv_row(*cells: str) -> bytes:
    text = io.StringIO()
    if any("\r" in cell for cell in cells):  # ends a row for csv.reader, but csv.writer does not quote it
        csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(cells)
    else:
        csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8")


def _raise_changed(tables: Sequence[Table]) -> NoReturn:
    raise DataError(
        "the posts changed while they were read",
        where=", ".join(table.source for table in tables),
        remedy="run the command again when no other program writes to them.",
    )
