"""The loop: rows of training metrics, and a failed save raised at the next step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, cast

import pytest
import torch
from tests.support.agents import SOURCE, WORDS, agent, collator, post, rows
from tests.support.trainers import Log
from torch import nn

from thriftune.checkpoints import Checkpoint
from thriftune.config import TrainingConfig
from thriftune.dual_agent.batch import Batch, Collator
from thriftune.errors import OutOfStorageError, ThriftuneError
from thriftune.model.encoder import Encoder, build_encoder
from thriftune.training.batching import epoch_batches
from thriftune.training.loop import DivergedError, Identity, Trainer, train
from thriftune.training.seeding import seed_everything
from thriftune.training.validation import validate

pytestmark = pytest.mark.unit
STEPS_PER_EPOCH = 4


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


def run(trainer: Trainer) -> None:
    """To its end, every checkpoint taken."""
    for checkpoint in train(trainer):
        checkpoint.receipt.commit()


def test_rows_are_means_and_an_epochs_end_closes_one(encoder: Encoder) -> None:
    """Every third of four steps, and the last of each epoch; the learning rate is that of the step."""
    single, grouped = Log(), Log()
    for log, every in ((single, 1), (grouped, 3)):
        run(trainer(encoder, log, log_every_steps=every))
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
        assert max_windows == plain.training.max_windows
        assert plain.agent.training  # with dropout, then
        made.extend(id(row) for row in rows)
        return plain.collator(rows, max_windows)

    ahead = replace(
        plain, collator=cast(Collator, collated), on_step=lambda step, steps: seen.append(len(made) // 2)
    )
    ahead.agent.train()
    run(ahead)
    assert seen == [2, 3, 4, 4, 6, 7, 8, 8]  # of four batches an epoch: one more, until there is none
    lengths = [sum(map(len, row["input_ids"])) for row in plain.rows]
    order = [index for epoch in (1, 2) for batch in epoch_batches(lengths, 2, 0, epoch) for index in batch]
    assert made == [id(plain.rows[index]) for index in order]
    assert order[:8] != order[8:]


def test_posts_weigh_alike_in_a_last_batch_that_is_short(encoder: Encoder) -> None:
    """Five posts in batches of 2, 2 and 1 give the loss and the gradient of all five at once."""
    found = []
    for size, accumulation in ((2, 3), (5, 1)):
        log = Log()
        plain = trainer(encoder, log)
        for module in plain.agent.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        once = {"batch_size": size, "accumulation": accumulation, "epochs": 1}
        five = rows(encoder, [post(10, number) for number in range(5)])
        run(replace(plain, rows=five, training=plain.training.model_copy(update=once)))
        found.append([log.rows[key, 1] for key in ("train/loss", "train/gradient_norm")])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_a_tie_is_no_gain_and_patience_counts_saves(encoder: Encoder) -> None:
    """The same value again and again: the first is the best, and two more end it."""
    plain = trainer(encoder, Log())
    patient = {"epochs": 9, "early_stopping_patience": 2}
    epochs = []
    for checkpoint in train(replace(plain, training=plain.training.model_copy(update=patient))):
        checkpoint.receipt.commit()
        epochs.append((checkpoint.epoch, checkpoint.state["saves_since_best"]))
    assert epochs == [(1, 0), (2, 1), (3, 2)]


def test_gradients_and_probabilities_that_are_no_numbers_end_the_trial(encoder: Encoder) -> None:
    """Where the loss is finite all the same; and in validation, behind the last step."""
    plain = trainer(encoder, Log())
    first = next(parameter for parameter in plain.agent.parameters() if parameter.requires_grad)
    hook = first.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(DivergedError, match="gradient norm nan at step 1"):
        run(plain)
    hook.remove()
    with torch.no_grad():
        first.fill_(math.nan)
    with pytest.raises(DivergedError, match="not finite"):
        validate(plain.agent, plain.rows, plain.collator, 4)


def test_gradients_that_no_scale_makes_finite_are_told(encoder: Encoder) -> None:
    """In float16 such a step is skipped and the scale halved, from 2**16 on; at 1 the trial has diverged."""
    steps: list[int] = []
    plain = trainer(encoder, Log(), on_step=lambda step, steps_in_all: steps.append(step))
    broken = replace(plain, training=plain.training.model_copy(update={"precision": "float16", "epochs": 9}))
    next(parameter for parameter in plain.agent.parameters() if parameter.requires_grad).register_hook(
        lambda gradient: gradient * math.nan
    )
    with pytest.raises(DivergedError, match="gradient norm nan at step 17"):
        run(broken)
    assert steps[-1] == 16


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


def test_a_write_that_fails_within_an_epoch_ends_that_step(encoder: Encoder) -> None:
    """What is trained after it could not be resumed from."""
    steps: list[int] = []
    taken: list[Checkpoint] = []

    def on_step(step: int, steps_in_all: int) -> None:
        steps.append(step)
        if step == STEPS_PER_EPOCH + 2:
            taken[0].receipt.fail(OutOfStorageError("full"))

    loop = train(trainer(encoder, Log(), on_step=on_step))
    taken.append(next(loop))
    taken[0].receipt.accept()
    with pytest.raises(OutOfStorageError):
        next(loop)
    assert steps[-1] == STEPS_PER_EPOCH + 2


def test_a_checkpoint_that_nobody_took_is_an_error(encoder: Encoder) -> None:
    """Rather than a study without checkpoints."""
    loop = train(trainer(encoder, Log()))
    next(loop)
    with pytest.raises(ThriftuneError, match="no store saved it"):
        next(loop)
