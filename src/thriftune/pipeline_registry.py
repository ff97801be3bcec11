"""The registered pipelines. `__default__` is `hpo`."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from thriftune.pipelines import evaluate, hpo, ingest, train

DEFAULT = "__default__"
SEARCHING = ("hpo", DEFAULT)
"""Pipelines that run a search."""
TRAINING = ("train", *SEARCHING)
"""Pipelines that train."""
WITH_STUDY = ("evaluate", *TRAINING)
"""Pipelines that work on a study."""
NAMES = ("ingest", *WITH_STUDY)
"""Names as `kedro run --pipelines` takes them."""


def register_pipelines() -> dict[str, Pipeline]:
    """Return every pipeline by its name."""
    pipelines = {
        "ingest": ingest.create_pipeline(),
        "train": ingest.create_pipeline() + train.create_pipeline(),
        "hpo": ingest.create_pipeline() + hpo.create_pipeline(),
        "evaluate": evaluate.create_pipeline(),
    }
    return pipelines | {DEFAULT: pipelines["hpo"]}
