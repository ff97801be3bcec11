"""Reads and writes the records of an evaluation: predictions.jsonl first, then evaluation.json."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from thriftune import files
from thriftune.errors import DamageError, DataError, refuse_newer
from thriftune.evaluation.predictions import (
    CriterionPrediction,
    Decisions,
    Matrix,
    PredictedSpan,
    PredictionLine,
    Predictions,
)
from thriftune.evaluation.record import SCHEMA_VERSION, EvaluationRecord, TrialReport

EVALUATION, PREDICTIONS, PAGE = "evaluation.json", "predictions.jsonl", "report.html"


def prediction_lines(predictions: Predictions, decisions: Decisions) -> Iterator[str]:
    """Yield the lines of predictions.jsonl, a `PredictionLine` for each post.

    Probabilities are written with all digits of their float32 value.

    Args:
        predictions: The predictions of a split.
        decisions: Those predictions with thresholds applied.

    Yields:
        A line without its end.
    """
    for number, post_id in enumerate(predictions.post_ids):
        inside = np.flatnonzero(predictions.sentence_post == number)
        spans = predictions.sentence_spans[inside].tolist()
        line: PredictionLine = {
            "post_id": post_id,
            "criteria": _criteria_of(predictions, decisions, number),
            "evidence": _evidence_of(predictions, decisions, number, inside),
            "evidence_true": [
                {"criterion": predictions.criteria[c], "start": start, "end": end}
                for c, start, end in predictions.evidence_true[number]
            ],
            "sentences": spans,
        }
        yield json.dumps(line, ensure_ascii=False)


def _criteria_of(predictions: Predictions, decisions: Decisions, post: int) -> dict[str, CriterionPrediction]:
    probabilities, decided = predictions.criteria_prob, decisions.criteria
    return {
        name: {
            "probability": None if probabilities is None else float(probabilities[post, i]),
            "predicted": None if decided is None else bool(decided[post, i]),
            "true": bool(predictions.criteria_true[post, i]),
        }
        for i, name in enumerate(predictions.criteria)
    }


def _evidence_of(
    predictions: Predictions, decisions: Decisions, post: int, inside: Matrix
) -> list[PredictedSpan]:
    if decisions.sentences is None or predictions.sentence_prob is None:
        return []
    if decisions.evidence_spans is not None:
        spans = sorted(decisions.evidence_spans[post], key=lambda span: (span[1], span[0]))
    else:
        spans = [
            (int(i), int(start), int(end), float(predictions.sentence_prob[at, i]))
            for at in inside
            for start, end in [predictions.sentence_spans[at]]
            for i in np.flatnonzero(decisions.sentences[at])
        ]
    return [
        {"criterion": predictions.criteria[i], "start": start, "end": end, "score": score}
        for i, start, end, score in spans
    ]


def check_disjoint(test_ids: Iterable[str], validation_ids: Iterable[str]) -> None:
    """Raise unless test and validation have no post in common: else the figures would mean nothing.

    Args:
        test_ids: Ids of the posts of the test split.
        validation_ids: Ids of those of the validation split.

    Raises:
        DataError: They share posts.
    """
    shared = sorted(set(test_ids) & set(validation_ids))
    if shared:
        raise DataError(
            f"test and validation share {len(shared)} posts: {', '.join(shared[:20])}",
            where="the split",
            remedy="correct the splits table, run ingest again, and start a new study.",
        )


def write_evaluation(folder: Path, evaluation: EvaluationRecord, lines: Iterable[str]) -> None:
    """Commit an evaluation: it counts once evaluation.json is there. ValueError if it is not valid.

    Args:
        folder: The study's folder.
        evaluation: Checked before anything is written.
        lines: Those of predictions.jsonl, without their ends.
    """
    value = evaluation.to_json()
    files.write_bytes(folder / PREDICTIONS, "".join(f"{line}\n" for line in lines).encode("utf-8"))
    files.write_json(folder / EVALUATION, value)


def read_evaluation(folder: Path) -> EvaluationRecord | None:
    """Return the evaluation on record, or None; a file of a newer format is refused.

    Args:
        folder: The study's folder.

    Raises:
        DamageError: The file is not an evaluation record.
    """
    path = folder / EVALUATION
    if not path.exists():
        return None
    try:
        value = files.read_json(path)
    except ValueError as error:
        raise DamageError(f"is not JSON: {error}", where=str(path)) from error
    refuse_newer(value, "schema_version", SCHEMA_VERSION, str(path))
    try:
        return EvaluationRecord.from_json(value)
    except ValueError as error:
        raise DamageError(f"is not an evaluation record: {error}", where=str(path)) from error


def write_trial_report(path: Path, report: TrialReport) -> None:
    """Commit a trial's validation report; ValueError if it is not valid.

    Args:
        path: The file.
        report: Checked before anything is written.
    """
    files.write_json(path, report.to_json())
