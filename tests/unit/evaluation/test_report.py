"""What is written is checked against its schema, and so is what is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from thriftune.errors import DamageError, DataError
from thriftune.evaluation.record import EvaluationRecord, TrialReport
from thriftune.evaluation.report import check_disjoint, read_evaluation, write_evaluation, write_trial_report

pytestmark = pytest.mark.unit


def test_shared_posts_are_refused() -> None:
    """Figures over posts that were validated on would mean nothing."""
    check_disjoint(["1", "2"], ["3"])
    with pytest.raises(DataError, match="share 1 posts: 2"):
        check_disjoint(["1", "2"], ["2", "3"])


def test_what_does_not_follow_the_schema_is_not_written(tmp_path: Path) -> None:
    """The message names the place inside."""
    with pytest.raises(ValueError, match="at study_id: Field required"):
        write_evaluation(tmp_path, EvaluationRecord.model_construct(), [])
    with pytest.raises(ValueError, match="at study_id: Field required"):
        write_trial_report(tmp_path / "validation.json", TrialReport.model_construct())
    assert list(tmp_path.iterdir()) == []


def test_a_garbled_evaluation_is_named(tmp_path: Path) -> None:
    """Not JSON, and JSON of another kind."""
    assert read_evaluation(tmp_path) is None
    (tmp_path / "evaluation.json").write_text("{", encoding="utf-8")
    with pytest.raises(DamageError, match="not JSON"):
        read_evaluation(tmp_path)
    (tmp_path / "evaluation.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DamageError, match="not an evaluation record: at study_id"):
        read_evaluation(tmp_path)
