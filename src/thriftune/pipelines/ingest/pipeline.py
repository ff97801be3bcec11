"""settings -> corpus, data_report."""

from kedro.pipeline import Pipeline, node, pipeline

from thriftune.pipelines.ingest.nodes import ingest_corpus


def create_pipeline() -> Pipeline:
    """Return the pipeline that reads the raw tables; no other does."""
    return pipeline(
        [
            node(
                ingest_corpus,
                ["corpora", "settings"],
                ["corpus", "data_report"],
                name="ingest",
                tags="data",
            )
        ]
    )
