"""corpus -> train -> checkpoints of the study `<study.name>-train`."""

from kedro.pipeline import Pipeline, node, pipeline

from thriftune.pipelines.train.nodes import train_once


def create_pipeline() -> Pipeline:
    """Return the pipeline of one trial, without a test evaluation."""
    return pipeline(
        [
            node(
                train_once,
                ["corpus", "settings", "train_study", "train_checkpoint_store"],
                "train_checkpoints",
                name="train",
                tags="training",
            )
        ]
    )
