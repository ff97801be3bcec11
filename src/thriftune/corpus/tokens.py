"""Tokenises a corpus once per encoder and length, to Arrow on disk (SPEC 4.4)."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import datasets
from datasets.arrow_writer import ArrowWriter

from thriftune import files
from thriftune.corpus.types import Post, SplitName
from thriftune.corpus.windows import Layout, marked_sentences, tokens_inside, window_cutter, window_room
from thriftune.errors import ConfigError

log = logging.getLogger(__name__)

RULES_VERSION = 3
"""Raised when this module makes other rows of the same posts."""
BATCH_POSTS = 256
_WORD = re.compile(r"\w+")

ROWS, FACTS = "rows.arrow", "facts.json"
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
    """What this module needs of a corpus."""

    @property
    def fingerprint(self) -> str: ...
    @property
    def criteria(self) -> tuple[str, ...]: ...
    def posts(self, split: SplitName) -> Iterator[Post]: ...


_in_use: dict[Path, int] = {}
"""Descriptors of the row files that this process reads, hashed once each; a shared lock tells other
processes."""


class TokenisedStore:
    """Tokenised splits on disk, keyed by data, split, tokenizer and settings."""

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
        """The split's rows (see FEATURES); tokenised now where they are not there yet."""
        key = files.sha256_json(
            [RULES_VERSION, corpus.fingerprint, split, tokenizer_fingerprint, asdict(layout)]
        )
        folder = self.root / f"tokens_{split}_{key[:16]}"
        if folder / ROWS not in _in_use:
            with files.alone_with(folder):
                if not _is_whole(folder):
                    files.remove_tree(folder)
                    rows = tokenise(corpus.posts(split), tokenizer, corpus.criteria, layout)
                    log.info("tokenised %d %s posts", self._write(folder, rows), split)
                _hold(folder / ROWS)
        return datasets.Dataset.from_file(str(folder / ROWS))

    def unused(self) -> Iterator[Path]:
        """Folders of tokenised splits that no process reads; they can be made again."""
        for folder in sorted(self.root.glob("tokens_*")):
            if not _is_held(folder / ROWS):
                yield folder

    def _write(self, folder: Path, rows: Iterable[dict[str, Any]]) -> int:
        temporary = folder.with_name(f".tmp-{folder.name}")
        files.remove_tree(temporary)
        temporary.mkdir(parents=True)
        count = 0
        path = temporary / ROWS
        with ArrowWriter(path=str(path), features=FEATURES, writer_batch_size=BATCH_POSTS) as writer:
            for row in rows:
                writer.write(row)
                count += 1
            writer.finalize()
        with path.open("rb+") as handle:
            files.fsync_file(handle, path)
        files.write_json(temporary / FACTS, {"size": path.stat().st_size, "sha256": files.sha256_file(path)})
        files.rename(temporary, folder)
        return count


def _is_whole(folder: Path) -> bool:
    """Whether the rows are those that were written."""
    path = folder / ROWS
    if not folder.exists():
        return False
    try:
        facts = files.read_json(folder / FACTS)
        if path.stat().st_size == facts["size"] and files.sha256_file(path) == facts["sha256"]:
            return True
    except (OSError, ValueError, KeyError, TypeError):
        pass
    log.warning("%s is damaged or incomplete: the posts are tokenised again", folder)
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


def tokenise(
    posts: Iterable[Post], tokenizer: Any, criteria: Sequence[str], layout: Layout
) -> Iterator[dict[str, Any]]:
    """One row (see FEATURES) a post.

    input_ids, owned and sentence are [windows][tokens]; sentence is the index of the candidate
    sentence or -1; sentence_targets is [sentences][criteria]; evidence_known is 0 for a criterion
    whose evidence could not be aligned; evidence is [[criterion, start, end], ...], words the character
    ranges of runs of word characters. Where the layout asks for them, tokens are the character ranges of the
    post's tokens and evidence_tokens is [[criterion, first token, last token], ...], else both are empty.
    """
    check_layout(tokenizer, layout)
    cut = window_cutter(tokenizer, layout)
    for post in posts:
        windows = cut(post.text, post.sentences)
        yield {"post_id": post.post_id, **windows, **_targets(post, criteria, windows["tokens"])}


def check_layout(tokenizer: Any, layout: Layout) -> None:
    """ConfigError where a tokenizer cannot cut posts so, or no window would get further."""
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            "the tokenizer gives no character offsets (it is not a fast one)",
            where="encoder",
            remedy="choose an encoder with a tokenizer.json.",
        )
    if layout.descriptions and tokenizer.sep_token_id is None:
        raise ConfigError(
            "the tokenizer has no token that separates a post from a description",
            where="model.reading",
            remedy="set it to posts, or choose another encoder.",
        )
    room = window_room(tokenizer, layout)
    if layout.overlap >= room:
        segment = ", and the longest description" if layout.descriptions else ""
        raise ConfigError(
            f"training.overlap {layout.overlap} leaves no step forward in a window of {room} tokens",
            where="training.overlap",
            remedy=f"make it smaller than training.max_length less the special tokens{segment}.",
        )


def _targets(post: Post, criteria: Sequence[str], tokens: Sequence[Sequence[int]]) -> dict[str, Any]:
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
        inside = tokens_inside(tokens, (item.start, item.end))
        if inside is not None:
            evidence_tokens.append([index, *inside])
    return {
        "criteria": [int(criterion in post.criteria) for criterion in criteria],
        "sentence_targets": marks,
        "evidence_known": known,
        "sentences": [list(span) for span in post.sentences],
        "evidence": sorted(evidence),
        "evidence_tokens": sorted(evidence_tokens),
        "words": [list(match.span()) for match in _WORD.finditer(post.text)],
    }
