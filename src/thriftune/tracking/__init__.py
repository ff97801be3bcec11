"""The way of a metric: a journal of each trial, a sender thread, MLflow.

The journal is the truth: one JSON line a row, checksummed, durable when a checkpoint commits. MLflow is a
copy that may be away for days and can be rebuilt. Journals need no MLflow, and no other room imports it.

    with Journal(Path("runs/mine/metrics.jsonl")) as journal:
        journal.log({"train/loss": 0.7, "train/learning_rate": 1e-4}, step=1)
    for row in read_metrics(Path("runs/mine/metrics.jsonl")):
        print(row.key, row.step, row.value)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
