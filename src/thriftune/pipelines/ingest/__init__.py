"""The `ingest` pipeline."""

from thriftune.pipelines.ingest.pipeline import create_pipeline

__all__ = ["create_pipeline"]
