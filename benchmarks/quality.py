"""What the dual agent finds, against what a user would pick instead, on the same splits in one run.

    python -m benchmarks.quality [--posts posts.csv --annotations annotations.csv] [--encoder NAME]
                                 [--seeds 3] [--epochs 6] [--params training.learning_rate=1e-4]

Baselines: TF-IDF with logistic regression, a classifier a criterion for posts and one for sentences, C chosen
on validation; and transformers' Trainer with its defaults on the same encoder for as many epochs, one
multi-label classifier of posts and one of sentences. All have thresholds tuned on validation as ours are. Of
every figure: ours, theirs, and the difference with its 95 % interval: paired bootstrap over the test posts,
means over the seeds. The sample is taken where no tables are named.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from thriftune.config import EncoderFromConfig, Parameters, override, parse_parameters
from thriftune.corpus.ingest import ingest
from thriftune.corpus.store import Corpus, CorpusStore
from thriftune.corpus.types import SplitName
from thriftune.evaluation.counts import Counts
from thriftune.evaluation.predict import assemble, predict
from thriftune.evaluation.predictions import Decisions, Matrix, Predictions, decide
from thriftune.evaluation.thresholds import tune_all
from thriftune.model.encoder import Encoder
from thriftune.project import load_parameters
from thriftune.search.prepared import encoder_for, rows_of
from thriftune.search.trial import build_agent, class_weights
from thriftune.training.loop import Identity, train
from thriftune.training.loop import Trainer as Ours
from thriftune.training.validation import validate

FIGURES = tuple(
    f"{of}_{mean}" for of in ("criteria.f1", "evidence.sentence_f1") for mean in ("macro", "micro")
)
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""C of the logistic regressions, the best taken by validation F1."""
RESAMPLES = 1000

Probabilities = tuple[Matrix, Matrix]
"""Of posts and of sentences, [items, criteria] float32."""


class Data:
    """The three splits as rows, texts, sentences and truths."""

    def __init__(self, settings: Parameters, corpus: Corpus, encoder: Encoder) -> None:
        splits: tuple[SplitName, ...] = ("train", "validation", "test")
        self.rows = {split: rows_of(settings, corpus, encoder, split) for split in splits}
        self.truths = {split: assemble(corpus.criteria, rows, {}, {}) for split, rows in self.rows.items()}
        self.texts: dict[str, list[str]] = {}
        self.sentences: dict[str, list[str]] = {}
        for split in splits:
            posts = {post.post_id: post.text for post in corpus.posts(split)}
            self.texts[split] = [posts[row["post_id"]] for row in self.rows[split]]
            self.sentences[split] = [
                text[start:end]
                for text, row in zip(self.texts[split], self.rows[split], strict=True)
                for start, end in row["sentences"]
            ]


def decided(data: Data, found: Callable[[SplitName], Probabilities]) -> Decisions:
    """Thresholds tuned on validation, decisions on test."""
    tuned, tested = (
        replace(data.truths[split], criteria_prob=posts, sentence_prob=sentences)
        for split in ("validation", "test")
        for posts, sentences in [found(split)]
    )
    return decide(tested, *tune_all(tuned))


def dual_agent(settings: Parameters, corpus: Corpus, encoder: Encoder, data: Data) -> Decisions:
    """Ours: the epoch that is best on validation, as the study keeps it."""
    agent = build_agent(settings, encoder, corpus.criteria)
    size = settings.evaluation.batch_size

    def validated(agent: Any) -> Mapping[str, float | None]:
        return validate(
            agent,
            data.rows["validation"],
            pad_token_id=encoder.pad_token_id,
            batch_size=size,
            on_batch=lambda: None,
        ).flat

    trainer = Ours(
        agent=agent,
        rows=data.rows["train"],
        pad_token_id=encoder.pad_token_id,
        positive_weights=class_weights(settings, data.rows["train"], torch.device("cpu")),
        training=settings.training,
        model=settings.model,
        metric=settings.study.metric,
        seed=settings.study.seed,
        save_every_epochs=1,
        identity=Identity("quality", 0, "00000000", corpus.fingerprint),
        validate=validated,
        log=_NoLog(),
        overlap=False,
    )
    best: dict[str, torch.Tensor] = {}
    for checkpoint in train(trainer):
        if checkpoint.state["saves_since_best"] == 0:
            best = {name: tensor.clone() for name, tensor in checkpoint.model.items()}
        checkpoint.receipt.commit()
    agent.load_trained(best)
    found = predict(agent, data.rows["test"], pad_token_id=encoder.pad_token_id, batch_size=size)
    return decide(found, agent.criteria_thresholds.numpy(), agent.evidence_thresholds.numpy())


class _NoLog:
    def log(self, metrics: Mapping[str, float | None], step: int) -> None:
        """Nothing is kept."""


def tfidf(data: Data, seed: int) -> Decisions:
    """Logistic regression on words and pairs of words."""
    posts = _regressions(data.texts, {s: t.criteria_true for s, t in data.truths.items()}, seed)
    sentences = _regressions(data.sentences, {s: t.sentence_true for s, t in data.truths.items()}, seed)
    return decided(data, lambda split: (posts[split], sentences[split]))


def _regressions(texts: Mapping[str, list[str]], truth: Mapping[str, Matrix], seed: int) -> dict[str, Matrix]:
    """Probabilities of validation and test, [items, criteria]; a criterion without both classes has its
    share."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    features = {"train": vectorizer.fit_transform(texts["train"])}
    features |= {split: vectorizer.transform(texts[split]) for split in ("validation", "test")}
    found = {split: np.zeros(truth[split].shape, dtype=np.float32) for split in ("validation", "test")}
    for at in range(truth["train"].shape[1]):
        labels = truth["train"][:, at]
        if labels.all() or not labels.any():
            for values in found.values():
                values[:, at] = labels.mean()
            continue
        models = [
            LogisticRegression(C=strength, class_weight="balanced", max_iter=2000, random_state=seed).fit(
                features["train"], labels
            )
            for strength in STRENGTHS
        ]
        scored = [model.predict_proba(features["validation"])[:, 1] for model in models]
        reached = [_best_f1(each, truth["validation"][:, at]) for each in scored]
        best = models[int(np.argmax(reached))]
        for split, values in found.items():
            values[:, at] = best.predict_proba(features[split])[:, 1]
    return found


def _best_f1(probabilities: Matrix, truth: Matrix) -> float:
    """The highest F1 over all thresholds."""
    order = np.argsort(-probabilities, kind="stable")
    hits = np.cumsum(truth[order])
    return float((2 * hits / (np.arange(1, len(order) + 1) + truth.sum())).max()) if truth.any() else 0.0


def fine_tuned(settings: Parameters, encoder: Encoder, data: Data) -> Decisions:
    """transformers' Trainer with its defaults, a classifier of posts and one of sentences."""
    posts = _classifier(settings, encoder, data.texts, {s: t.criteria_true for s, t in data.truths.items()})
    sentences = _classifier(
        settings, encoder, data.sentences, {s: t.sentence_true for s, t in data.truths.items()}
    )
    return decided(data, lambda split: (posts[split], sentences[split]))


def _classifier(
    settings: Parameters, encoder: Encoder, texts: Mapping[str, list[str]], truth: Mapping[str, Matrix]
) -> dict[str, Matrix]:
    torch.manual_seed(settings.study.seed)
    base = encoder.instantiate()
    config = copy.deepcopy(base.config)
    config.num_labels, config.problem_type = truth["train"].shape[1], "multi_label_classification"
    model = AutoModelForSequenceClassification.from_config(config)
    model.base_model.load_state_dict(base.state_dict(), strict=False)  # BERT's has a pooling layer more
    data = {
        split: [
            {**encoder.tokenizer(text, truncation=True, max_length=settings.training.max_length),
             "labels": [float(mark) for mark in marks]}
            for text, marks in zip(texts[split], truth[split], strict=True)
        ]
        for split in texts
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=settings.training.epochs,
            per_device_train_batch_size=settings.training.batch_size,
            per_device_eval_batch_size=settings.evaluation.batch_size,
            **({"learning_rate": settings.training.learning_rate} if encoder_is_new(settings) else {}),
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=settings.study.seed,
            use_cpu=not torch.cuda.is_available(),
        )
        collator = DataCollatorWithPadding(encoder.tokenizer)
        trainer = Trainer(model, arguments, train_dataset=data["train"], data_collator=collator)
        trainer.train()
        return {
            split: 1 / (1 + np.exp(-trainer.predict(data[split]).predictions))
            for split in ("validation", "test")
        }


def encoder_is_new(settings: Parameters) -> bool:
    """Whether its weights are drawn: Trainer's default rate, which is for pretrained ones, learns nothing."""
    return isinstance(settings.encoders.get(settings.encoder), EncoderFromConfig)


def counts_by_post(truth: Predictions, decisions: Decisions) -> dict[str, Matrix]:
    """Hits, false alarms and misses of each post, [3, posts, criteria], of posts and of sentences."""
    assert decisions.criteria is not None
    assert decisions.sentences is not None
    of_posts = _three(truth.criteria_true, decisions.criteria)
    of_sentences = np.zeros_like(of_posts)
    for part, total in zip(_three(truth.sentence_true, decisions.sentences), of_sentences, strict=True):
        np.add.at(total, truth.sentence_post, part)
    return {"criteria.f1": of_posts, "evidence.sentence_f1": of_sentences}


def _three(truth: Matrix, predicted: Matrix) -> Matrix:
    return np.stack([truth & predicted, ~truth & predicted, truth & ~predicted]).astype(float)


def figures(counts: Mapping[str, Matrix], weights: Matrix) -> dict[str, Matrix]:
    """Each figure for weightings of the posts [resamples, posts]; [resamples]."""
    found = {}
    for name, parts in counts.items():
        total = Counts(*(weights @ part for part in parts))
        pooled = Counts(total.hits.sum(1), total.false_alarms.sum(1), total.misses.sum(1))
        found |= {f"{name}_macro": total.f1.mean(axis=1), f"{name}_micro": pooled.f1}
    return found


Side = list[dict[str, Matrix]]
"""The counts of one approach, a seed each."""


def compare(ours: Side, theirs: Side) -> list[tuple[str, float, float, Matrix]]:
    """(figure, ours, theirs, interval of the difference), means over the seeds; both sides are weighed by the
    same resamples of the posts."""
    posts = ours[0]["criteria.f1"].shape[1]
    chance = np.random.default_rng(0)
    weights = chance.multinomial(posts, np.full(posts, 1 / posts), size=RESAMPLES).astype(float)
    once = np.ones((1, posts))
    rows = []
    for name in FIGURES:
        (our, their), (ours_again, theirs_again) = (
            [np.mean([figures(counts, each)[name] for counts in side], axis=0) for side in (ours, theirs)]
            for each in (once, weights)
        )
        interval = np.quantile(ours_again - theirs_again, (0.025, 0.975))
        rows.append((name, float(our[0]), float(their[0]), interval))
    return rows


def main() -> None:
    """Train all, print the table; exit code 1 where the interval of a sentence figure reaches 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=Path)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--encoder")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--params", action="append", default=[])
    given = parser.parse_args()
    changes: dict[str, Any] = dict(pair.split("=", 1) for pair in given.params)
    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(given, changes, Path(folder))
        corpus = ingest(settings.corpus, CorpusStore(Path(settings.corpus.root)), click.echo)
        encoder = encoder_for(settings, corpus)
        data = Data(settings, corpus, encoder)
        found: dict[str, list[dict[str, Matrix]]] = {}
        for seed in range(given.seeds):
            own = override(settings, {"study.seed": seed})
            made = {
                "dual agent": dual_agent(own, corpus, encoder, data),
                "TF-IDF + logistic regression": tfidf(data, seed),
                "transformers Trainer": fine_tuned(own, encoder, data),
            }
            for name, decisions in made.items():
                found.setdefault(name, []).append(counts_by_post(data.truths["test"], decisions))
            click.echo(f"seed {seed} is done")
    ours = found.pop("dual agent")
    table, kept = Table("figure", "against", "ours", "theirs", "difference, 95 %"), True
    for other, theirs in found.items():
        for name, our, their, (low, high) in compare(ours, theirs):
            table.add_row(name, other, f"{our:.3f}", f"{their:.3f}", f"{low:+.3f} to {high:+.3f}")
            kept = kept and (low > 0 or not name.startswith("evidence"))
    Console(width=110).print(table)
    raise SystemExit(0 if kept else 1)


def _settings(given: argparse.Namespace, changes: Mapping[str, Any], folder: Path) -> Parameters:
    """The project's own parameters, its folders in a temporary one."""
    dumped = load_parameters(Path(__file__).parents[1]).model_dump(mode="json")
    dumped["corpus"] |= {"root": str(folder / "corpora"), "cache": str(folder / "tokens")}
    if given.posts is not None:
        tables = {"posts": str(given.posts), "annotations": str(given.annotations), "splits": None}
        dumped["corpus"] |= {"source": "files", "files": tables}
    settings = parse_parameters(dumped)
    chosen = {"encoder": given.encoder, "training.epochs": given.epochs, **changes}
    return override(settings, {key: value for key, value in chosen.items() if value is not None})


if __name__ == "__main__":
    main()
