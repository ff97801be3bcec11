"""What the dual agent finds, against what a user would pick instead, on the same splits in one run.

    python -m benchmarks.quality [--posts posts.csv --annotations annotations.csv] [--encoder NAME]
                                 [--seeds 3] [--splits] [--epochs 6]
                                 [--params training.learning_rate=1e-4] [--ablations] [--only NAME]
                                 [--kept FOLDER] [--first-seed 2]

Baselines: TF-IDF with logistic regression, a classifier a criterion for posts and one for sentences, C chosen
on validation; and transformers' Trainer with its defaults on the same encoder for as many epochs, one
multi-label classifier of posts and one of sentences. All have thresholds tuned on validation as ours are.
With --ablations the dual agent takes their place, with one thing changed at a time. Of every figure: theirs,
and ours less theirs with its 95 % interval: paired bootstrap over the test posts, means over the seeds. With
--splits each seed has a split of its own, which tells more of criteria that few test posts meet. The sample
is taken where no tables are named.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.baselines import Data, fine_tuned, tfidf
from thriftune import files
from thriftune.config import Parameters, override, parse_parameters
from thriftune.corpus.ingestion import ingest
from thriftune.corpus.store import Corpus, CorpusStore
from thriftune.errors import ThriftuneError
from thriftune.evaluation.bootstrap import interval, resamples, weighted_figures
from thriftune.evaluation.predict import predict
from thriftune.evaluation.predictions import Decisions, Matrix, Predictions, decide
from thriftune.evaluation.thresholds import DEFAULT
from thriftune.model.encoder import Encoder
from thriftune.project.parameters import load_parameters
from thriftune.training.inputs import TrainingInputs, build_agent, class_weights, collator_for, encoder_for
from thriftune.training.loop import Identity, Trainer, train
from thriftune.training.seeding import configure_determinism, resolve_device
from thriftune.training.validation import validate

AVERAGES = tuple(
    f"{of}_{mean}" for of in ("criteria.f1", "evidence.sentence_f1") for mean in ("macro", "micro")
)
RESAMPLES = 1000
RARE = 3
"""Criteria whose own F1 is shown: those that the fewest posts meet."""
AGENTS = "model.criteria_agent.{key}", "model.evidence_agent.{key}"
ABLATIONS: dict[str, dict[str, Any]] = {
    "criteria agent alone": {"model.evidence_agent.weight": 0.0},
    "evidence agent alone": {"model.criteria_agent.weight": 0.0},
    **{
        f"coupling {kind}": {"model.coupling": kind}
        for kind in ("independent", "concat", "sum", "gated", "strongest")
    },
    **{
        f"loss {loss}": {agent.format(key="loss"): loss for agent in AGENTS}
        for loss in ("bce", "weighted_bce", "focal", "asymmetric", "hybrid")
    },
    **{
        f"pooling {kind}": {"model.criteria_agent.pooling": kind}
        for kind in ("mean", "cls", "attention", "last2")
    },
    **{
        f"evidence as {kind}": {"model.evidence_agent.kind": kind}
        for kind in ("sentence", "span", "biaffine", "tagger", "crf_tagger")
    },
    "post x criterion pairs": {"model.reading": "pairs"},
}
"""What is changed of the configuration; what it has already is left out."""

Side = list[tuple[Predictions, Decisions]]
"""Of one approach: the truth and what it decided, a seed each."""


class Kept:
    """What was decided already, by approach, configuration and corpus: a comparison that takes hours goes on
    where it was cut off."""

    def __init__(self, folder: Path | None, corpus: Corpus, truth: Predictions) -> None:
        self._folder, self._corpus, self._truth = folder, corpus, truth

    def get(
        self, name: str, settings: Parameters, make: Callable[[], tuple[Predictions, Decisions]]
    ) -> tuple[Predictions, Decisions]:
        """The truth, with probabilities where there are some, and the decisions; made now if they are new."""
        dumped = settings.model_dump(mode="json", exclude={"corpus", "storage", "tracking", "observe"})
        key = files.sha256_json([name, self._corpus.fingerprint, dumped])[:16]
        path = None if self._folder is None else self._folder / f"{key}.npz"
        if path is None or not path.exists():
            found, decisions = make()
            arrays = {
                "criteria": decisions.criteria,
                "sentences": decisions.sentences,
                "criteria_prob": found.criteria_prob,
                "sentence_prob": found.sentence_prob,
            }
            arrays = {key: array for key, array in arrays.items() if array is not None}
            if path is not None:
                packed = io.BytesIO()
                np.savez_compressed(packed, allow_pickle=False, **arrays)
                files.make_directory(path.parent)
                files.write_bytes(path, packed.getvalue())
        else:
            arrays = dict(np.load(path))
        own = {key: arrays.pop(key, None) for key in ("criteria_prob", "sentence_prob")}
        click.echo(f"seed {settings.study.seed}: {name}")
        return replace(self._truth, **own), Decisions(arrays.get("criteria"), arrays.get("sentences"))


class NoLog:
    """A log of metrics that keeps none."""

    def log(self, metrics: Mapping[str, float | None], step: int) -> None:
        """Nothing is kept."""


def dual_agent(
    settings: Parameters, corpus: Corpus, encoder: Encoder, prepared: TrainingInputs
) -> tuple[Predictions, Decisions]:
    """Ours on test: the epoch that is best on validation, as the study keeps it."""
    device = resolve_device(settings.training.device)
    configure_determinism(torch.get_num_threads(), device)
    agent = build_agent(settings, encoder, corpus.criteria).to(device)
    size, collator = settings.evaluation.batch_size, collator_for(settings, corpus, encoder)
    rows = {split: prepared.rows(settings, encoder, split) for split in ("train", "validation", "test")}
    metric = settings.study.metric
    if not (settings.model.criteria_agent.weight and settings.model.evidence_agent.weight):
        metric = "criteria.f1_micro" if settings.model.criteria_agent.weight else "evidence.sentence_f1_micro"
    trainer = Trainer(
        agent=agent,
        rows=rows["train"],
        collator=collator,
        positive_weights=class_weights(settings, rows["train"], device),
        training=settings.training,
        metric=metric,
        seed=settings.study.seed,
        save_every_epochs=1,
        identity=Identity("quality", 0, "00000000", corpus.fingerprint),
        validate=lambda agent: validate(agent, rows["validation"], collator, size).flat,
        log=NoLog(),
        overlap=False,
    )
    best: dict[str, torch.Tensor] = {}
    for checkpoint in train(trainer):
        if checkpoint.state["saves_since_best"] == 0:
            best = {name: tensor.clone() for name, tensor in checkpoint.model.items()}
        checkpoint.receipt.commit()
    agent.load_trained(best)
    found = predict(agent, rows["test"], collator, size)
    return found, decide(
        found, agent.criteria_thresholds.cpu().numpy(), agent.evidence_thresholds.cpu().numpy()
    )


def weighted(side: Side, weights: Sequence[Matrix]) -> dict[str, Matrix]:
    """Each figure for weightings of the posts of each seed, means over the seeds; [weightings]."""
    seeds = [weighted_figures(*one, own) for one, own in zip(side, weights, strict=True)]
    return {name: np.mean([each[name] for each in seeds], axis=0) for name in seeds[0]}


def compare(
    ours: Side, theirs: Side, figures: Sequence[str]
) -> list[tuple[str, float, float, tuple[float, float]]]:
    """(figure, ours, theirs, interval of the difference) of those that both have; both sides, and seeds of
    the same posts, are weighed by the same resamples of the posts."""
    tests = [truth.post_ids for truth, _ in ours]
    once = [np.ones((1, len(posts))) for posts in tests]
    again = [resamples(len(posts), RESAMPLES, seed=tests.index(posts)) for posts in tests]
    (our, their), (ours_again, theirs_again) = (
        [weighted(side, weights) for side in (ours, theirs)] for weights in (once, again)
    )
    return [
        (name, float(our[name][0]), float(their[name][0]), interval(ours_again[name] - theirs_again[name]))
        for name in figures
        if name in our and name in their
    ]


def variants(settings: Parameters) -> dict[str, Parameters]:
    """The configuration with one thing changed at a time."""
    changed = {name: override(settings, changes) for name, changes in ABLATIONS.items()}
    return {name: own for name, own in changed.items() if own != settings}


def chosen(name: str, only: Sequence[str]) -> bool:
    """Whether any part that was asked for is in a name; all are where none was."""
    return not only or any(each in name for each in only)


def main() -> None:
    """Train all, print the table; exit code 1 where the interval of a sentence figure against a baseline
    reaches 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--posts", type=Path)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--encoder")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--first-seed", type=int, default=0, help="to share the seeds out among processes with one --kept"
    )
    parser.add_argument("--params", action="append", default=[])
    parser.add_argument("--splits", action="store_true", help="each seed has a split of its own")
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument(
        "--kept", type=Path, help="folder of what earlier runs decided; remove it after a change of code"
    )
    parser.add_argument(
        "--only", action="append", default=[], help="of the others, those that have this in their name"
    )
    given = parser.parse_args()
    if (given.posts is None) != (given.annotations is None):
        parser.error("--posts and --annotations belong together")
    if given.seeds < 1:
        parser.error("--seeds must be at least 1")
    if any("=" not in pair for pair in given.params):
        parser.error("--params takes key=value")
    changes: dict[str, Any] = dict(pair.split("=", 1) for pair in given.params)
    if "study.seed" in changes:
        parser.error("the seeds are 0, 1, ... of --seeds")
    try:
        _run(given, changes)
    except ThriftuneError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(error.exit_code) from error


def _run(given: argparse.Namespace, changes: Mapping[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(given, changes, Path(folder))
        ours: Side = []
        others: dict[str, Side] = {}
        for seed in range(given.first_seed, given.first_seed + given.seeds):
            own = override(settings, {"study.seed": seed})
            if given.splits:
                own = override(own, {"corpus.split.seed": seed})
            if given.splits or seed == given.first_seed:
                corpus = ingest(own.corpus, CorpusStore(Path(own.corpus.root)), click.echo)
                encoder, prepared = encoder_for(own, corpus), TrainingInputs(corpus)
                data = Data(own, corpus, encoder)
                kept = Kept(given.kept, corpus, data.truths["test"])
            ours.append(kept.get("ours", own, partial(dual_agent, own, corpus, encoder, prepared)))
            if given.ablations:
                found, _ = ours[-1]
                half = np.full(len(corpus.criteria), DEFAULT, dtype=np.float32)
                others.setdefault("thresholds 0.5", []).append((found, decide(found, half, half)))
                for name, changed in variants(own).items():
                    if chosen(name, given.only):
                        make = partial(dual_agent, changed, corpus, encoder, prepared)
                        others.setdefault(name, []).append(kept.get("ours", changed, make))
                continue
            baselines = {
                "TF-IDF + logistic regression": partial(tfidf, data, seed),
                "transformers Trainer": partial(fine_tuned, own, encoder, data),
            }
            for name, decide_ in baselines.items():
                if chosen(name, given.only):
                    made = kept.get(name, own, partial(_with_truth, data.truths["test"], decide_))
                    others.setdefault(name, []).append(made)
        posts = data.truths["train"].criteria_true.sum(axis=0)
    rare = [corpus.criteria[at] for at in posts.argsort(kind="stable")[:RARE]]
    above = _print(ours, others, [*AVERAGES, *(f"criteria.per_criterion.{name}.f1" for name in rare)])
    raise SystemExit(0 if above or given.ablations else 1)


def _with_truth(truth: Predictions, decide_: Callable[[], Decisions]) -> tuple[Predictions, Decisions]:
    return truth, decide_()


def _print(ours: Side, others: Mapping[str, Side], figures: Sequence[str]) -> bool:
    """The table; whether every interval of a sentence figure is above 0."""
    table, kept = Table("figure", "against", "ours", "theirs", "difference, 95 %"), True
    for other, theirs in others.items():
        for name, our, their, (low, high) in compare(ours, theirs, figures):
            table.add_row(name, other, f"{our:.3f}", f"{their:.3f}", f"{low:+.3f} to {high:+.3f}")
            kept = kept and (low > 0 or not name.startswith("evidence"))
        table.add_section()
    Console(width=120).print(table)
    return kept


def _settings(given: argparse.Namespace, changes: Mapping[str, Any], folder: Path) -> Parameters:
    """The project's own parameters, its folders in a temporary one."""
    dumped = load_parameters(Path(__file__).parents[1]).model_dump(mode="json")
    dumped["corpus"] |= {"root": str(folder / "corpora"), "cache": str(folder / "tokens")}
    if given.posts is not None:
        tables = {"posts": str(given.posts), "annotations": str(given.annotations), "splits": None}
        dumped["corpus"] |= {"source": "files", "files": tables}
    settings = parse_parameters(dumped, root=Path.cwd())
    chosen = {"encoder": given.encoder, "training.epochs": given.epochs, **changes}
    return override(settings, {key: value for key, value in chosen.items() if value is not None})


if __name__ == "__main__":
    main()
