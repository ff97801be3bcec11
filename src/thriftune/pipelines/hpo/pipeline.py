"""corpus -> search -> checkpoints -> the one test evaluation."""

from kedro.pipeline import Pipeline, node, pipeline

from thriftune.pipelines.evaluate.nodes import evaluate_finished
from thriftune.pipelines.hpo.nodes import search


def create_pipeline() -> Pipeline:
    """Return the pipeline of the search and the evaluation of its best."""
    return pipeline(
        [
            node(
                search,
                ["corpus", "settings", "study", "checkpoint_store"],
                "checkpoints",
                name="search",
                tags="training",
            ),
            node(
                evaluate_finished,
                ["checkpoints", "corpora", "study", "settings"],
                "evaluation",
                name="evaluate_on_test",
                tags="evaluation",
            ),
        ]
    )
