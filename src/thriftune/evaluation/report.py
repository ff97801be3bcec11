"""The records of an evaluation: predictions.jsonl first, then evaluation.json."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from thriftune import files
from thriftune.errors import DamageError, DataError, refuse_newer
from thriftune.evaluation.predictions import Decisions, Matrix, Predictions
from thriftune.evaluation.record import SCHEMA_VERSION, EvaluationRecord, TrialReport

EVALUATION, PREDICTIONS, PAGE = "evaluation.json", "predictions.jsonl", "report.html"


def prediction_lines(predictions: Predictions, decisions: Decisions) -> Iterator[str]:
    """One JSON object a post: criteria, evidence predicted and true, candidate sentences.

    Probabilities are written with all digits of their float32 value.
    """
    for number, post_id in enumerate(predictions.post_ids):
        inside = np.flatnonzero(predictions.sentence_post == number)
        spans = predictions.sentence_spans[inside].tolist()
        yield json.dumps(
            {
                "post_id": post_id,
                "criteria": _criteria_of(predictions, decisions, number),
                "evidence": _evidence_of(predictions, decisions, number, inside),
                "evidence_true": [
                    {"criterion": predictions.criteria[c], "start": start, "end": end}
                    for c, start, end in predictions.evidence_true[number]
                ],
                "sentences": spans,
            },
            ensure_ascii=False,
        )


def _criteria_of(predictions: Predictions, decisions: Decisions, post: int) -> dict[str, Any]:
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
) -> list[dict[str, Any]]:
    if decisions.sentences is None or predictions.sentence_prob is None:
        return []
    if decisions.places is not None:
        places = sorted(decisions.places[post], key=lambda place: (place[1], place[0]))
    else:
        places = [
            (int(i), int(start), int(end), float(predictions.sentence_prob[at, i]))
            for at in inside
            for start, end in [predictions.sentence_spans[at]]
            for i in np.flatnonzero(decisions.sentences[at])
        ]
    return [
        {"criterion": predictions.criteria[i], "start": start, "end": end, "score": score}
        for i, start, end, score in places
    ]


def check_disjoint(test_ids: Iterable[str], validation_ids: Iterable[str]) -> None:
    """DataError where test and validation share posts: the figures would mean nothing."""
    shared = sorted(set(test_ids) & set(validation_ids))
    if shared:
        raise DataError(
            f"test and validation share {len(shared)} posts: {', '.join(shared[:20])}",
            where="the split",
            remedy="correct the splits table, run ingest again, and start a new study.",
        )


def write_evaluation(folder: Path, evaluation: EvaluationRecord, lines: Iterable[str]) -> None:
    """Commit an evaluation: it counts once evaluation.json is there.

    Args:
        folder: The study's folder.
        evaluation: Checked before anything is written.
        lines: Those of predictions.jsonl, without their ends.

    Raises:
        ValueError: The evaluation is not valid.
    """
    value = evaluation.to_json()
    files.write_bytes(folder / PREDICTIONS, "".join(f"{line}\n" for line in lines).encode("utf-8"))
    files.write_json(folder / EVALUATION, value)


def read_evaluation(folder: Path) -> EvaluationRecord | None:
    """Return the evaluation on record, or None.

    Args:
        folder: The study's folder.

    Raises:
        DamageError: The file is no evaluation.
        NewerFormatError: It has a format that only a newer version knows.
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
        raise DamageError(f"is no evaluation record: {error}", where=str(path)) from error


def write_trial_report(path: Path, report: TrialReport) -> None:
    """Commit a trial's validation report.

    Args:
        path: The file.
        report: Checked before anything is written.

    Raises:
        ValueError: The report is not valid.
    """
    files.write_json(path, report.to_json())
