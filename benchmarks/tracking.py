"""A metric call of the training loop, against `mlflow.log_metrics` on SQLite in the same run.

    python -m benchmarks.tracking [--calls 3000]

The loop does a little arithmetic between two calls, as training does, while the sender carries the journal to
MLflow from its own thread: to SQLite, to a server that never answers, to none.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import torch

from benchmarks.rows import at_most, write
from thriftune.config import parse_parameters
from thriftune.databases.location import mlflow_uri
from thriftune.tracking.journal import Journal
from thriftune.tracking.mlflow_store import MlflowSink
from thriftune.tracking.parent import connect
from thriftune.tracking.sender import Delivery, Sender

METRICS = {"train/loss": 0.5, "train/gradient_norm": 1.0, "train/learning_rate": 1e-3}
P50_SECONDS, P99_SECONDS, SHARE_OF_LOG_METRICS = 1e-4, 1e-3, 0.1


def timed(call: Callable[[int], object], calls: int) -> list[float]:
    """Seconds of each call, sorted; some arithmetic lies between two."""
    matrix, took = torch.randn(256, 256), []
    for step in range(calls):
        matrix = torch.tanh(matrix @ matrix)
        started = time.perf_counter()
        call(step)
        took.append(time.perf_counter() - started)
    return sorted(took)


def quantile(took: list[float], share: float) -> float:
    return took[min(len(took) - 1, int(share * len(took)))]


def journal_calls(root: Path, uri: str | None, calls: int) -> list[float]:
    """Calls on a journal that a sender carries to the store of a URI (None: SQLite below root, whose tables
    are there, since the command makes them before its first node)."""
    parameters = parse_parameters({"tracking": {"root": "tracking", "mlflow_uri": uri}}, root=root)
    if uri is None:
        connect(parameters)
    journal = Journal(root / "trial" / "metrics.jsonl")

    def open_run(sink: MlflowSink) -> tuple[str, str]:
        parent = sink.parent_run("bench", "bench")
        return parent, sink.trial_run(parent, "bench", 0, "00000000")

    sender = Sender(lambda: connect(parameters), mlflow_uri(parameters.tracking))
    sender.watch(Delivery(journal.path, open_run))
    took = timed(lambda step: journal.log(METRICS, step), calls)
    journal.close()
    sender.close(0.0 if uri else 60.0)
    return took


def mlflow_calls(root: Path, calls: int) -> list[float]:
    """Calls of MLflow's own fluent API on a SQLite store."""
    mlflow.set_tracking_uri(f"sqlite:///{root}/fluent.db")
    with mlflow.start_run():
        return timed(lambda step: mlflow.log_metrics(METRICS, step=step), calls)


def main() -> None:
    """Measure, print, and add the rows to build/bench.json; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=3000)
    calls = parser.parse_args().calls
    rows = []
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as silent:
        root = Path(folder)
        fluent = statistics.median(mlflow_calls(root, max(100, calls // 30)))
        silence = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for name, uri in (("metric_call", None), ("metric_call/silent server", silence)):
            took = journal_calls(root / name.replace("/", "_"), uri, calls)
            p50, p99 = quantile(took, 0.5), quantile(took, 0.99)
            rows += [
                at_most(f"{name}/p50", p50, "s", P50_SECONDS, 1.0),
                at_most(f"{name}/p99", p99, "s", P99_SECONDS, 1.0),
                at_most(f"{name}/log_metrics", p50, "s", fluent, SHARE_OF_LOG_METRICS),
            ]
    write(rows)
    raise SystemExit(0 if all(row.ok is not False for row in rows) else 1)


if __name__ == "__main__":
    main()
