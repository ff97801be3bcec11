"""What does not follow its schema is named; the check of formats that nothing here uses costs no start."""

from __future__ import annotations

import subprocess
import sys

import jsonschema
import pytest

from thriftune.checkpoints.manifest import manifest_schema
from thriftune.evaluation.record import EvaluationRecord, TrialReport
from thriftune.json_schema import IRI_CHECKER, Violation, violation
from thriftune.study.record import StudyRecord

pytestmark = pytest.mark.unit
FORMATS = f"""
import sys
import thriftune.json_schema
import jsonschema
assert "{IRI_CHECKER}" not in sys.modules
formats = jsonschema.Draft202012Validator.FORMAT_CHECKER
assert formats.conforms("https://example.org/straße", "iri")
assert not formats.conforms("no iri", "iri")
assert "{IRI_CHECKER}" in sys.modules
"""


def test_a_violation_says_where_and_what() -> None:
    """The place inside, and the value; None for what follows the schema."""
    schema = {
        "type": "object",
        "properties": {"sizes": {"items": {"type": "integer"}}},
        "required": ["sizes"],
    }
    assert violation({"sizes": [1, 2]}, schema) is None
    assert violation({"sizes": [1, "2"]}, schema) == Violation("sizes/1", "'2' is not of type 'integer'")
    assert violation({}, schema) == Violation("the top level", "'sizes' is a required property")


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


def test_the_grammar_of_iris_is_built_when_it_is_asked() -> None:
    """Not with the import; other code in the process still has the formats checked."""
    pytest.importorskip(IRI_CHECKER)
    done = subprocess.run([sys.executable, "-c", FORMATS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
