"""The registered pipelines. `__default__` is `hpo`."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from thriftune.pipelines import evaluate, hpo, ingest, train


def register_pipelines() -> dict[str, Pipeline]:
    """Names as `kedro run --pipeline NAME` takes them."""
    pipelines = {
        "ingest": ingest.create_pipeline(),
        "train": ingest.create_pipeline() + train.create_pipeline(),
        "hpo": ingest.create_pipeline() + hpo.create_pipeline(),
        "evaluate": evaluate.create_pipeline(),
    }
    return pipelines | {"__default__": pipelines["hpo"]}
