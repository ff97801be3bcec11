"""The pipelines and their names."""

from __future__ import annotations

import pytest

from thriftune.pipeline_registry import NAMES, register_pipelines

pytestmark = pytest.mark.unit


def test_every_pipeline_has_a_name_that_a_run_may_give() -> None:
    """The names that are checked before a run are those that Kedro finds."""
    assert sorted(register_pipelines()) == sorted(NAMES)
