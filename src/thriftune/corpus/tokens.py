"""Tokenised corpora: Arrow files on disk, made once per encoder, length and split."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, Protocol, TypedDict

import datasets
from datasets.arrow_writer import ArrowWriter

from thriftune import files
from thriftune.corpus.rows import Row
from thriftune.corpus.types import Post, SplitName
from thriftune.dual_agent.windows import (
    Layout,
    PostWindows,
    marked_sentences,
    tokens_inside,
    window_cutter,
    window_room,
)
from thriftune.errors import ConfigError
from thriftune.observe.progress import counted

log = logging.getLogger(__name__)

RULES_VERSION = 4
"""To be raised when this module makes different rows of the same posts."""
BATCH_POSTS = 256
"""Posts in memory at once."""
SHARD_POSTS = 16_384
"""Posts of one file; after a kill, tokenising resumes after the last complete file."""
_WORD = re.compile(r"\w+")

FACTS, _TEMPORARY = "facts.json", ".tmp-"
FEATURES = datasets.Features(
    {
        "post_id": datasets.Value("string"),
        "input_ids": datasets.List(datasets.List(datasets.Value("int32"))),
        "owned": datasets.List(datasets.List(datasets.Value("bool"))),
        "sentence": datasets.List(datasets.List(datasets.Value("int32"))),
        "criteria": datasets.List(datasets.Value("int8")),
        "sentence_targets": datasets.List(datasets.List(datasets.Value("int8"))),
        "evidence_known": datasets.List(datasets.Value("int8")),
        "sentences": datasets.List(datasets.List(datasets.Value("int32"))),
        "evidence": datasets.List(datasets.List(datasets.Value("int32"))),
        "tokens": datasets.List(datasets.List(datasets.Value("int32"))),
        "evidence_tokens": datasets.List(datasets.List(datasets.Value("int32"))),
        "words": datasets.List(datasets.List(datasets.Value("int32"))),
    }
)


class PostSource(Protocol):
    """The part of a corpus that is tokenised; Corpus is one."""

    @property
    def fingerprint(self) -> str:
        """Hash of criteria and posts."""

    @property
    def criteria(self) -> tuple[str, ...]:
        """Names of the criteria, in order."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Posts by split."""

    def posts(self, split: SplitName) -> Iterator[Post]:
        """Return the posts of a split, in order.

        Args:
            split: The split.
        """


class _Shard(TypedDict):
    """One file of a tokenised split, as facts.json records it."""

    name: str
    posts: int
    sha256: str


_in_use: dict[Path, int] = {}
"""Descriptors of the facts.json of each split that this process reads and has hashed; a shared lock on them
tells other processes that the split is in use."""


class TokenisedStore:
    """Tokenised splits on disk, by data, split, tokenizer and layout.

    Args:
        root: The folder of the cache.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def get(
        self,
        corpus: PostSource,
        split: SplitName,
        tokenizer: Any,
        tokenizer_fingerprint: str,
        layout: Layout,
    ) -> datasets.Dataset:
        """Return the rows of a split (see Row), tokenised now unless the cache has them undamaged.

        Args:
            corpus: Where the posts come from.
            split: The split; no other is read.
            tokenizer: A fast tokenizer of transformers.
            tokenizer_fingerprint: Hash of all that decides its tokens.
            layout: How posts become windows.

        Returns:
            A memory-mapped data set, which stays on disk.
        """
        key = files.sha256_json(
            [RULES_VERSION, corpus.fingerprint, split, tokenizer_fingerprint, asdict(layout)]
        )
        folder = self.root / f"tokens_{split}_{key[:16]}"
        if folder / FACTS not in _in_use:
            with files.file_lock(folder):
                if not _is_whole(folder):
                    files.remove_tree(folder)
                    posts = self._write(folder, corpus, split, tokenizer, layout)
                    log.info("tokenised %d %s posts", posts, split)
                _hold(folder / FACTS)
        shards = files.read_json(folder / FACTS)["shards"]
        return datasets.concatenate_datasets(
            [datasets.Dataset.from_file(str(folder / shard["name"])) for shard in shards]
        )

    def dispose(self, remove: Callable[[Path], None]) -> None:
        """Call `remove` for the folder of each tokenised split that no process reads or writes.

        The folder is locked meanwhile: a process that has found it, but has not marked it as in use yet,
        either keeps it or finds it gone and tokenises again.

        Args:
            remove: Deletes the folder, or leaves it.
        """
        for folder in sorted(self.root.glob("tokens_*")):
            with suppress(TimeoutError), files.file_lock(folder, wait=False):
                if folder.is_dir() and not _is_held(folder / FACTS):
                    remove(folder)
        for temporary in sorted(self.root.glob(f"{_TEMPORARY}tokens_*")):
            folder = temporary.with_name(temporary.name.removeprefix(_TEMPORARY))
            with suppress(TimeoutError), files.file_lock(folder, wait=False):
                if temporary.is_dir():
                    remove(temporary)

    def _write(
        self, folder: Path, corpus: PostSource, split: SplitName, tokenizer: Any, layout: Layout
    ) -> int:
        """Tokenise into shards, after those of a killed process; return the number of posts."""
        temporary = folder.with_name(f"{_TEMPORARY}{folder.name}")
        files.make_directory(temporary)
        left = _shards(temporary)
        done = sum(shard["posts"] for shard in left)
        posts = counted(
            islice(corpus.posts(split), done, None), "tokenised", corpus.counts[split], done, bar=False
        )
        rows = tokenise(posts, tokenizer, corpus.criteria, layout)
        gc.freeze()  # or the collector visits all objects of the libraries every few hundred rows
        try:
            for number in count(len(left)):
                own = [*islice(rows, 1)]
                if not own and number:
                    break
                path = temporary / f"rows_{number:05d}.arrow"
                taken = _write_shard(path, chain(own, islice(rows, SHARD_POSTS - 1)))
                left.append({"name": path.name, "posts": taken, "sha256": files.sha256_file(path)})
                files.write_json(temporary / FACTS, {"shards": left})
        finally:
            gc.unfreeze()
        files.rename(temporary, folder)
        return sum(shard["posts"] for shard in left)


def _write_shard(path: Path, rows: Iterable[Row]) -> int:
    posts = 0
    with ArrowWriter(path=str(path), features=FEATURES, writer_batch_size=BATCH_POSTS) as writer:
        for row in rows:
            writer.write(row)
            posts += 1
        writer.finalize()
    files.fsync_path(path)
    return posts


def _shards(folder: Path) -> list[_Shard]:
    """Return the recorded shards of a folder if all are undamaged, else none."""
    try:
        shards: list[_Shard] = files.read_json(folder / FACTS)["shards"]
        if all(files.sha256_file(folder / shard["name"]) == shard["sha256"] for shard in shards):
            return shards
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return []


def _is_whole(folder: Path) -> bool:
    """Return whether a folder has the rows that were written."""
    if not folder.exists():
        return False
    if _shards(folder):
        return True
    log.warning("%s is damaged or incomplete; tokenising the posts again", folder)
    return False


def _hold(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    _in_use[path] = descriptor


def _is_held(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def tokenise(posts: Iterable[Post], tokenizer: Any, criteria: Sequence[str], layout: Layout) -> Iterator[Row]:
    """Yield one row per post, in order.

    Args:
        posts: Posts of a corpus.
        tokenizer: A fast tokenizer of transformers.
        criteria: Names of the criteria, in the order of the targets; evidence for others is ignored.
        layout: How posts become windows; without token_ranges, `tokens` and `evidence_tokens` are empty.
    """
    check_layout(tokenizer, layout)
    cut = window_cutter(tokenizer, layout)
    for post in posts:
        yield _row(post, criteria, cut(post.text, post.sentences))


def check_layout(tokenizer: Any, layout: Layout) -> None:
    """Raise unless a tokenizer can cut posts into windows that advance.

    Args:
        tokenizer: A tokenizer of transformers.
        layout: How posts become windows.

    Raises:
        ConfigError: If it is not a fast tokenizer, cannot separate a description, or the windows would not
        advance.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            "the tokenizer gives no character offsets (it is not a fast one)",
            where="encoder",
            remedy="choose an encoder with a tokenizer.json.",
        )
    if layout.descriptions and tokenizer.sep_token_id is None:
        raise ConfigError(
            "the tokenizer has no token to separate a post from a description",
            where="model.reading",
            remedy="set it to posts, or choose another encoder.",
        )
    room = window_room(tokenizer, layout)
    if layout.overlap >= room:
        segment = ", and the longest description" if layout.descriptions else ""
        raise ConfigError(
            f"training.overlap {layout.overlap} leaves no step forward in a window of {room} tokens",
            where="training.overlap",
            remedy=f"make it smaller than training.max_length minus the special tokens{segment}.",
        )


def _row(post: Post, criteria: Sequence[str], windows: PostWindows) -> Row:
    column = {criterion: index for index, criterion in enumerate(criteria)}
    marks = [[0] * len(criteria) for _ in post.sentences]
    known = [1] * len(criteria)
    evidence: list[list[int]] = []
    evidence_tokens: list[list[int]] = []
    for item in post.evidence:
        if item.status != 1 or item.criterion not in column:
            continue
        index = column[item.criterion]
        if item.start is None or item.end is None:
            known[index] = 0
            continue
        evidence.append([index, item.start, item.end])
        for sentence in marked_sentences((item.start, item.end), post.sentences):
            marks[sentence][index] = 1
        inside = tokens_inside(windows["tokens"], (item.start, item.end))
        if inside is not None:
            evidence_tokens.append([index, *inside])
    return {
        "post_id": post.post_id,
        **windows,
        "criteria": [int(criterion in post.criteria) for criterion in criteria],
        "sentence_targets": marks,
        "evidence_known": known,
        "sentences": [list(span) for span in post.sentences],
        "evidence": sorted(evidence),
        "evidence_tokens": sorted(evidence_tokens),
        "words": [list(match.span()) for match in _WORD.finditer(post.text)],
    }
