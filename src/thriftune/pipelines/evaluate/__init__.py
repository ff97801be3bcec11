"""The `evaluate` pipeline."""

from thriftune.pipelines.evaluate.pipeline import create_pipeline

__all__ = ["create_pipeline"]
