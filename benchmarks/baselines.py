"""What a user would pick instead: TF-IDF with logistic regression, and transformers' Trainer."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from thriftune.config import EncoderFromConfig, Parameters, TrainingConfig
from thriftune.corpus.store import Corpus
from thriftune.corpus.types import SplitName
from thriftune.evaluation.predict import assemble
from thriftune.evaluation.predictions import Decisions, Matrix, decide
from thriftune.evaluation.thresholds import tune_all
from thriftune.model.encoder import Encoder
from thriftune.training.inputs import rows_of

STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""C of the logistic regressions, the best taken by validation F1."""

Probabilities = tuple[Matrix, Matrix]
"""Of posts and of sentences, [items, criteria] float32."""


class Data:
    """The three splits as rows, texts, sentences and truths."""

    def __init__(self, settings: Parameters, corpus: Corpus, encoder: Encoder) -> None:
        splits: tuple[SplitName, ...] = ("train", "validation", "test")
        self.rows = {split: rows_of(settings, corpus, encoder, split) for split in splits}
        self.truths = {
            split: assemble(corpus.criteria, rows, {}, {}, {}) for split, rows in self.rows.items()
        }
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
            per_device_eval_batch_size=settings.evaluation.batch_size,
            **(_of_ours(settings.training) if encoder_is_new(settings) else {}),
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


def _of_ours(training: TrainingConfig) -> dict[str, Any]:
    return {
        "learning_rate": training.learning_rate,
        "per_device_train_batch_size": training.batch_size,
    }


def encoder_is_new(settings: Parameters) -> bool:
    """Whether its weights are drawn: Trainer's defaults are for pretrained ones and teach these nothing."""
    return isinstance(settings.encoders.get(settings.encoder), EncoderFromConfig)
