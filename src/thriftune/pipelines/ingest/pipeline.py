"""settings -> corpus, data_report."""

from kedro.pipeline import Pipeline, node, pipeline

from thriftune.pipelines.ingest.nodes import ingest_corpus


def create_pipeline() -> Pipeline:
    """The raw tables are read here and nowhere else."""
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
