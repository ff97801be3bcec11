"""checkpoints + test posts -> evaluation."""

from kedro.pipeline import Pipeline, node, pipeline

from thriftune.pipelines.evaluate.nodes import evaluate_on_request


def create_pipeline() -> Pipeline:
    """Return the pipeline that evaluates a finished study on request."""
    return pipeline(
        [
            node(
                evaluate_on_request,
                ["checkpoints", "corpora", "study", "settings"],
                "evaluation",
                name="evaluate_on_test",
                tags="evaluation",
            )
        ]
    )
