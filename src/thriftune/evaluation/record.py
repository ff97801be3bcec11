"""What evaluation.json and a trial's validation.json hold."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from thriftune.corpus.reference import CorpusReference
from thriftune.json_records import JsonRecord, left_out_if_none

SCHEMA_VERSION: Final = 1

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class CriteriaFigures(JsonRecord):
    """Figures of the criteria; the file has more of them."""

    f1_macro: float | None
    f1_micro: float | None
    per_criterion: dict[str, dict[str, JsonValue]]


class EvidenceFigures(JsonRecord):
    """Figures of the sentences that are marked as evidence; the file has more of them."""

    sentence_f1_micro: float | None
    sentence_f1_macro: float | None
    per_criterion: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)


class JointFigures(JsonRecord):
    """Figures of criteria and evidence together; the file has more of them."""

    f1_micro: float | None


class Figures(JsonRecord):
    """All figures of a split; a section is absent if its agent is."""

    criteria: CriteriaFigures | None = left_out_if_none()
    evidence: EvidenceFigures | None = left_out_if_none()
    joint: JointFigures | None = left_out_if_none()

    @model_validator(mode="after")
    def _any_section(self) -> Self:
        if self.criteria is None and self.evidence is None and self.joint is None:
            raise ValueError("expected figures of criteria, evidence or both")
        return self


class EvaluatedCheckpoint(JsonRecord):
    """A checkpoint whose validation value is the study's best."""

    trial: int
    epoch: int
    path: str | None
    """Below the study's folder; None where retention has deleted it."""
    sha256: Sha256 | None
    kept: bool
    test_metrics: Figures | None = left_out_if_none()


class EvaluationNote(JsonRecord):
    """One reading of the test split."""

    at: str
    forced: bool
    trial: int
    epoch: int
    sha256: str
    test_metrics: Figures | None = left_out_if_none()
    reason: str | None = left_out_if_none()
    """Why it was read again."""


class EvaluationRecord(JsonRecord):
    """The one test evaluation of a study."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = SCHEMA_VERSION
    study_id: str
    study_name: str
    best_trial: int = Field(ge=0)
    optimization_metric: str
    validation_score: float
    test_metrics: Figures
    intervals: dict[str, tuple[float, float]]
    """95 % intervals by dotted metric name."""
    baselines: dict[str, float]
    """Figures of trivial predictors."""
    thresholds: dict[str, tuple[float, ...]]
    config: dict[str, JsonValue]
    """All parameters of the best trial."""
    data: CorpusReference
    seeds: dict[str, int]
    checkpoints: tuple[EvaluatedCheckpoint, ...] = Field(min_length=1)
    """The best and its exact ties; the figures are the first one's."""
    versions: dict[str, str]
    git_commit: str | None
    machine: dict[str, JsonValue]
    timings: dict[str, float]
    evaluations: tuple[EvaluationNote, ...] = Field(min_length=1)
    """Every reading of the test split, the last one last."""
    warnings: tuple[str, ...]


class TrialReport(JsonRecord):
    """Validation report of one trial."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = SCHEMA_VERSION
    study_id: str
    study_name: str
    trial: int = Field(ge=0)
    trial_id: str = Field(pattern="^[0-9a-f]{8}$")
    epoch: int = Field(ge=1)
    optimization_metric: str
    validation_score: float | None
    validation_metrics: Figures
    thresholds: dict[str, tuple[float, ...]]
    config: dict[str, JsonValue]
    data: CorpusReference
    seeds: dict[str, int]
    warnings: tuple[str, ...]
