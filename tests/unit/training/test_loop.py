"""The loop: rows of training metrics, and a failed save raised at the next step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, cast

import pytest
from tests.unit.model.test_dual_agent import SOURCE, WORDS, agent, collator, post, rows

from thriftune.config import TrainingConfig
from thriftune.errors import OutOfStorageError, ThriftuneError
from thriftune.model.batch import Batch, Collator
from thriftune.model.encoder import Encoder, build_encoder
from thriftune.training.batching import epoch_batches
from thriftune.training.loop import Identity, Trainer, train
from thriftune.training.seeding import seed_everything

pytestmark = pytest.mark.unit
STEPS_PER_EPOCH = 4


class Log:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], float | None] = {}

    def log(self, metrics: Mapping[str, float | None], step: int) -> None:
        """One value a key and step."""
        for key, value in metrics.items():
            assert (key, step) not in self.rows
            self.rows[key, step] = value


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """A tiny encoder with its own tokenizer."""
    return build_encoder(SOURCE, lambda: [" ".join(WORDS)], tmp_path_factory.mktemp("cache"))


def trainer(encoder: Encoder, log: Log, **settings: Any) -> Trainer:
    seed_everything(0)
    return Trainer(
        agent=agent(encoder),
        rows=rows(encoder, [post(10 + number, number) for number in range(2 * STEPS_PER_EPOCH)]),
        collator=collator(encoder),
        positive_weights=(None, None),
        training=TrainingConfig.model_validate(
            {"epochs": 2, "batch_size": 2, "max_length": 16, "overlap": 4}
        ),
        metric="m",
        seed=0,
        save_every_epochs=1,
        identity=Identity("study-00000000", 0, "00000000", "0" * 64),
        validate=lambda agent: {"m": 0.5},
        log=log,
        **settings,
    )


def test_rows_are_means_and_an_epochs_end_closes_one(encoder: Encoder) -> None:
    """Every third of four steps, and the last of each epoch; the learning rate is that of the step."""
    single, grouped = Log(), Log()
    for log, every in ((single, 1), (grouped, 3)):
        for checkpoint in train(trainer(encoder, log, log_every_steps=every)):
            checkpoint.receipt.commit()
    assert [step for key, step in grouped.rows if key == "train/loss"] == [3, 4, 7, 8]
    for key in ("train/loss", "train/gradient_norm"):
        first = [single.rows[key, step] or 0.0 for step in (5, 6, 7)]
        assert grouped.rows[key, 7] == fmean(first)
        assert grouped.rows[key, 8] == single.rows[key, 8]
    assert grouped.rows["train/learning_rate", 7] == single.rows["train/learning_rate", 7]


def test_a_batch_is_made_while_the_device_works_on_the_one_before(encoder: Encoder) -> None:
    """When a step has been taken the next one's first batch is there; all are in the epoch's order."""
    plain = trainer(encoder, Log())
    made: list[int] = []
    seen: list[int] = []

    def collated(rows: Sequence[Mapping[str, Any]], max_windows: int | None = None) -> Batch:
        made.extend(id(row) for row in rows)
        return plain.collator(rows, max_windows)

    ahead = replace(
        plain, collator=cast(Collator, collated), on_step=lambda step, steps: seen.append(len(made) // 2)
    )
    for checkpoint in train(ahead):
        checkpoint.receipt.commit()
    assert seen == [2, 3, 4, 4, 6, 7, 8, 8]  # of four batches an epoch: one more, until there is none
    lengths = [sum(map(len, row["input_ids"])) for row in plain.rows]
    order = [index for epoch in (1, 2) for batch in epoch_batches(lengths, 2, 0, epoch) for index in batch]
    assert made == [id(plain.rows[index]) for index in order]


def test_a_failed_save_is_raised_at_the_next_step(encoder: Encoder) -> None:
    """Not at the end of the next epoch."""
    steps: list[int] = []
    loop = train(trainer(encoder, Log(), on_step=lambda step, steps_in_all: steps.append(step)))
    checkpoint = next(loop)
    assert checkpoint.detached
    checkpoint.receipt.accept()
    checkpoint.receipt.fail(OutOfStorageError("full"))
    with pytest.raises(OutOfStorageError):
        next(loop)
    assert steps[-1] <= STEPS_PER_EPOCH + 1


def test_a_checkpoint_that_nobody_took_is_an_error(encoder: Encoder) -> None:
    """Rather than a study without checkpoints."""
    loop = train(trainer(encoder, Log()))
    next(loop)
    with pytest.raises(ThriftuneError, match="no store saved it"):
        next(loop)
