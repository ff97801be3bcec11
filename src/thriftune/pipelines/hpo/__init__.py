"""The `hpo` pipeline."""

from thriftune.pipelines.hpo.pipeline import create_pipeline

__all__ = ["create_pipeline"]
