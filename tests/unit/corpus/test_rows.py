"""Tokenised rows are read from disk: the values that were written, in memory that does not grow."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import small_parameters, write_small_tables

from thriftune.config import Parameters
from thriftune.corpus import tokens
from thriftune.corpus.ingestion import ingest
from thriftune.corpus.rows import TokenisedRows, column, token_counts
from thriftune.corpus.store import Corpus, CorpusStore
from thriftune.model.encoder import Encoder
from thriftune.training import inputs
from thriftune.training.inputs import (
    TrainingInputs,
    build_agent,
    class_weights,
    collator_for,
    encoder_for,
    layout_of,
    rows_of,
)
from thriftune.training.loop import Identity, Trainer, train

pytestmark = pytest.mark.unit


def ingested(root: Path, posts: int, **sections: dict[str, Any]) -> tuple[Parameters, Corpus, Encoder]:
    root.mkdir(exist_ok=True)
    write_small_tables(root, posts)
    parameters = small_parameters(root, **sections)
    corpus = ingest(parameters.corpus, CorpusStore(Path(parameters.corpus.root)), lambda line: None)
    return parameters, corpus, encoder_for(parameters, corpus)


def test_rows_are_what_was_tokenised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By index, by slice, in order and by column, across batches and shards; of the same types."""
    monkeypatch.setattr(tokens, "SHARD_POSTS", 20)
    monkeypatch.setattr(tokens, "BATCH_POSTS", 7)
    parameters, corpus, encoder = ingested(
        tmp_path, 90, model={"evidence_agent": {"kind": "span"}}, training={"max_length": 24}
    )
    layout = layout_of(parameters, corpus.criteria)
    made = list(tokens.tokenise(corpus.posts("train"), encoder.tokenizer, corpus.criteria, layout))
    dataset = tokens.TokenisedStore(tmp_path / "tokens").get(
        corpus, "train", encoder.tokenizer, encoder.fingerprint, layout
    )
    rows = TokenisedRows(dataset)
    assert len(rows) == len(made) > 60
    assert any(row["evidence_tokens"] for row in made)
    assert repr([rows[index] for index in range(len(rows))]) == repr(dataset.to_list())
    assert list(rows) == rows[:] == rows[::-1][::-1] == dataset.to_list()
    assert rows[-1]["post_id"] == made[-1]["post_id"]
    with pytest.raises(IndexError):
        rows[len(rows)]
    for name in tokens.FEATURES:
        assert list(column(rows, name)) == list(column(made, name))
    assert list(token_counts(rows)) == list(token_counts(made))
    weights = [class_weights(parameters, each, torch.device("cpu")) for each in (rows, made)]
    assert all(map(torch.equal, *weights))


def test_a_split_without_posts_has_no_rows(tmp_path: Path) -> None:
    """Its file has no batch."""
    tokens._write_shard(tmp_path / "none.arrow", iter(()))
    rows = TokenisedRows(tokens.datasets.Dataset.from_file(str(tmp_path / "none.arrow")))
    assert (len(rows), list(rows), list(rows.lengths)) == (0, [], [])


def peak_of_an_epoch(root: Path, posts: int) -> tuple[int, int]:
    """(training posts, most bytes of Python's objects while they are trained on once)."""
    parameters, corpus, encoder = ingested(root, posts, training={"epochs": 1})
    prepared, device = TrainingInputs(corpus), torch.device("cpu")
    agent = build_agent(parameters, encoder, corpus.criteria)
    collator = collator_for(parameters, corpus, encoder)

    class NoLog:
        def log(self, metrics: Any, step: int) -> None:
            """Nothing is kept."""

    rows_of(parameters, corpus, encoder, "train")  # tokenised now
    tracemalloc.start()
    rows = prepared.rows(parameters, encoder, "train")
    trainer = Trainer(
        agent=agent,
        rows=rows,
        collator=collator,
        positive_weights=class_weights(parameters, rows, device),
        training=parameters.training,
        metric="m",
        seed=0,
        save_every_epochs=1,
        identity=Identity("study-00000000", 0, "00000000", corpus.fingerprint),
        validate=lambda agent: {"m": 0.5},
        log=NoLog(),
    )
    for checkpoint in train(trainer):
        checkpoint.receipt.commit()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return len(rows), peak


def test_training_takes_no_more_memory_for_more_posts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the order of posts in an epoch: some numbers a post. Both have the longest posts in a batch."""
    monkeypatch.setattr(tokens, "BATCH_POSTS", 16)
    monkeypatch.setattr(inputs, "COUNTED_TOGETHER", 64)
    few, least = peak_of_an_epoch(tmp_path / "few", 300)
    many, most = peak_of_an_epoch(tmp_path / "many", 1000)
    assert many > 3 * few
    assert (most - least) / (many - few) < 1000
