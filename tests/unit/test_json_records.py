"""Records of JSON files: what is wrong is named with its place, and their schemas are schemas."""

from __future__ import annotations

import jsonschema
import pytest

from thriftune.checkpoints.manifest import manifest_schema
from thriftune.evaluation.record import EvaluationRecord, TrialReport
from thriftune.json_records import JsonRecord, left_out_if_none
from thriftune.study.record import StudyRecord

pytestmark = pytest.mark.unit


class Inner(JsonRecord):
    """A part of a file."""

    sizes: tuple[int, ...]


class Outer(JsonRecord):
    """A file."""

    inner: Inner
    note: str | None = left_out_if_none()


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"inner": {"sizes": [1, "x"]}}, "at inner/sizes/1: .*valid integer.*, got 'x'"),
        ({}, "at inner: Field required"),
        ([], "at the top level: "),
        ({"inner": {"sizes": [], "later": float("nan")}}, "at inner/later"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(value: object, problem: str) -> None:
    """Also deep inside, and in keys that this version does not know."""
    with pytest.raises(ValueError, match=problem):
        Outer.from_json(value)


def test_a_record_gives_back_what_was_read() -> None:
    """Keys of a later version stay, those without a value stay away; a copy with wrong values is refused."""
    value = {"inner": {"sizes": [1, 2], "later": {"is": ["kept"]}}}
    record = Outer.from_json(value)
    assert record.to_json() == value
    assert record.model_copy(update={"note": "n"}).to_json() == {**value, "note": "n"}
    with pytest.raises(ValueError, match="at note"):
        record.model_copy(update={"note": ["n"]}).to_json()


@pytest.mark.parametrize(
    "schema",
    [
        StudyRecord.json_schema(),
        manifest_schema(),
        EvaluationRecord.json_schema(),
        TrialReport.json_schema(),
    ],
    ids=["study", "manifest", "evaluation", "trial"],
)
def test_each_schema_is_one(schema: dict[str, object]) -> None:
    """A misspelt keyword's value would check nothing."""
    jsonschema.Draft202012Validator.check_schema(schema)
