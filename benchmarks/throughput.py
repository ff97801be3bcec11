"""Posts a second, trained and evaluated, against Hugging Face's Trainer with its defaults.

    python -m benchmarks.throughput [--posts 384] [--hidden 256] [--layers 4] [--repeats 2]
                                    [--precision bfloat16]

Same encoder (random weights), posts, batch size, window, precision and epochs on both sides; lengths are cut
alike. Trainer pads each batch of its random order with DataCollatorWithPadding and has one head for the
criteria; ours has both agents. mixed: log-normal lengths whose 95th percentile is six times the median;
abstracts: lengths of ordinary ones.
"""

from __future__ import annotations

import argparse
import copy
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

from benchmarks.quality import NoLog
from benchmarks.rows import Row, at_least, write
from thriftune.config import Parameters, parse_parameters
from thriftune.corpus.tokens import tokenise
from thriftune.corpus.types import Post
from thriftune.dual_agent.batch import Collator
from thriftune.dual_agent.sentences import split_sentences
from thriftune.dual_agent.windows import Layout
from thriftune.evaluation.predict import predict
from thriftune.model.encoder import Encoder, build_encoder
from thriftune.training.inputs import build_agent
from thriftune.training.loop import Identity, train
from thriftune.training.loop import Trainer as Ours
from thriftune.training.seeding import configure_determinism, resolve_device

CRITERIA = tuple("ABCDEFGHI")
BATCH, WINDOW = 16, 512
MIXED, ABSTRACTS = (math.log(45), math.log(6) / 1.645), (math.log(190), 0.35)
"""Mean and deviation of the logarithm of a post's words."""


def posts(count: int, shape: tuple[float, float]) -> list[Post]:
    """Posts of random words, at most a window each, in sentences of twelve words."""
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=4)) for _ in range(500)]
    found = []
    for number in range(count):
        length = max(4, min(WINDOW - 60, round(chance.lognormvariate(*shape))))
        chosen = chance.choices(words, k=length)
        text = " ".join(word + ("." if at % 12 == 11 else "") for at, word in enumerate(chosen))
        met = tuple(name for name in CRITERIA if chance.random() < 0.1)
        found.append(Post(str(number), text, met, (), split_sentences(text)))
    return found


def settings_of(hidden: int, layers: int, precision: str = "float32") -> Parameters:
    """The encoder and one epoch."""
    encoder = {
        "kind": "config", "vocabulary_size": 1000, "hidden_size": hidden, "layers": layers,
        "attention_heads": hidden // 32, "intermediate_size": 4 * hidden, "window": WINDOW,
    }  # fmt: skip
    training = {"epochs": 1, "batch_size": BATCH, "max_length": WINDOW, "overlap": 32, "precision": precision}
    return parse_parameters({"encoder": "e", "encoders": {"e": encoder}, "training": training})


def built(made: Sequence[Post], settings: Parameters, folder: Path) -> tuple[Encoder, list[dict[str, Any]]]:
    """The encoder, and the posts as rows of tokens."""
    encoder = build_encoder(settings.encoders["e"], lambda: [post.text for post in made], folder)
    rows = list(tokenise(made, encoder.tokenizer, CRITERIA, Layout(WINDOW, 32)))
    assert all(len(row["input_ids"]) == 1 for row in rows)
    return encoder, rows


def trainer_of(settings: Parameters, encoder: Encoder, rows: list[dict[str, Any]]) -> Ours:
    """Ours, about to train, with what a study asks of torch."""
    device = resolve_device(settings.training.device)
    configure_determinism(torch.get_num_threads(), device)
    return Ours(
        agent=build_agent(settings, encoder, CRITERIA).to(device),
        rows=rows,
        collator=Collator(len(CRITERIA), encoder.pad_token_id),
        positive_weights=(None, None),
        training=settings.training,
        metric="m",
        seed=0,
        save_every_epochs=1,
        identity=Identity("bench", 0, "00000000", ""),
        validate=lambda agent: {"m": 0.0},
        log=NoLog(),
        overlap=False,
    )


def trained(trainer: Ours) -> None:
    """One epoch, nothing of it stored."""
    for checkpoint in train(trainer):
        checkpoint.receipt.commit()


def ours(settings: Parameters, encoder: Encoder, rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Seconds of (an epoch of training, a pass of evaluation)."""
    trainer = trainer_of(settings, encoder, rows)
    training = seconds(lambda: trained(trainer))
    return training, seconds(lambda: predict(trainer.agent, rows, trainer.collator, BATCH))


def theirs(
    settings: Parameters, encoder: Encoder, rows: list[dict[str, Any]], folder: Path
) -> tuple[float, float]:
    """As `ours`, of transformers' Trainer."""
    torch.use_deterministic_algorithms(False)
    set_seed(0)
    config = copy.deepcopy(encoder.instantiate().config)
    config.num_labels, config.problem_type = len(CRITERIA), "multi_label_classification"
    model = AutoModelForSequenceClassification.from_config(config)
    data = [
        {"input_ids": row["input_ids"][0], "labels": [float(mark) for mark in row["criteria"]]}
        for row in rows
    ]
    arguments = TrainingArguments(
        str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        bf16=settings.training.precision == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
    )
    trainer = Trainer(
        model, arguments, train_dataset=data, data_collator=DataCollatorWithPadding(encoder.tokenizer)
    )
    return seconds(trainer.train), seconds(lambda: trainer.predict(data))


def seconds(call: Callable[[], object]) -> float:
    """That a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def measure(name: str, made: Sequence[Post], settings: Parameters, target: float, repeats: int) -> list[Row]:
    """Both sides in turn, the median of each."""
    took: dict[str, list[tuple[float, float]]] = {"theirs": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        encoder, rows = built(made, settings, Path(folder))
        lengths = sorted(len(row["input_ids"][0]) for row in rows)
        half, most = lengths[len(lengths) // 2], lengths[len(lengths) * 95 // 100]
        click.echo(f"{name}: median {half} tokens, 95th percentile {most}")
        sides = {"theirs": partial(theirs, folder=Path(folder)), "ours": ours}
        for run in sides.values():
            run(settings, encoder, rows[: 4 * BATCH])  # what is made once a process is made now
        for _ in range(repeats):
            for side, run in sides.items():
                took[side].append(run(settings, encoder, rows))
    found = []
    for at, what in enumerate(("training", "evaluation")):
        rates = {side: len(made) / statistics.median(each[at] for each in took[side]) for side in took}
        found.append(at_least(f"{what}_throughput/{name}", rates["ours"], "posts/s", rates["theirs"], target))
    return found


def main() -> None:
    """Measure, print, and add the rows to build/bench.json; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=384)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args()
    settings = settings_of(options.hidden, options.layers, options.precision)
    rows = [
        *measure("mixed", posts(options.posts, MIXED), settings, 2.0, options.repeats),
        *measure("abstracts", posts(options.posts, ABSTRACTS), settings, 1.5, options.repeats),
    ]
    write(rows)
    raise SystemExit(0 if all(row.ok is not False for row in rows) else 1)


if __name__ == "__main__":
    main()
