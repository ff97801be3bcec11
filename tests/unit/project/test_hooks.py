"""What the hooks rely on in kedro-mlflow, beyond what it documents."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points

import mlflow
import pytest
from kedro_mlflow.framework.hooks.mlflow_hook import mlflow_hook

from thriftune.project.hooks import stop_kedro_mlflow

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    enabled = mlflow_hook._is_mlflow_enabled
    mlflow_hook._already_active_mlflow = False
    yield
    mlflow_hook._is_mlflow_enabled = enabled


def a_pipeline_fails() -> None:
    assert mlflow.active_run() is None
    mlflow_hook.on_pipeline_error(error=ValueError(), run_params={}, pipeline=None, catalog={})


def test_the_hook_that_is_stopped_is_the_one_that_kedro_calls() -> None:
    """Kedro loads it from the entry point, and pluggy registers that very object."""
    (point,) = (each for each in entry_points(group="kedro.hooks") if each.name == "mlflow_hook")
    assert point.load() is mlflow_hook


def test_kedro_mlflow_still_hides_the_error_of_a_pipeline_without_a_run() -> None:
    """When this test fails, stop_kedro_mlflow is needed no more."""
    mlflow_hook._is_mlflow_enabled = True
    with pytest.raises(UnboundLocalError):
        a_pipeline_fails()


def test_a_stopped_kedro_mlflow_does_nothing_after_an_error() -> None:
    """The attribute is private: a new version of kedro-mlflow may do without it."""
    mlflow_hook._is_mlflow_enabled = True
    stop_kedro_mlflow()
    a_pipeline_fails()
