"""Whole studies under a budget: a watcher, an unmounted root, a lost best, export, rollback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog, DatasetError
from mlflow import MlflowClient
from tests.integration.complete import METRIC, check_complete
from tests.integration.conftest import copy_project, python, thriftune

from thriftune import files
from thriftune.checkpoints.manifest import MODEL
from thriftune.corpus.store import CorpusStore
from thriftune.datasets.checkpoint_dataset import CheckpointDataset, SavedCheckpointsDataset
from thriftune.datasets.report_dataset import EvaluationDataset
from thriftune.datasets.study_dataset import StudyDataset
from thriftune.tracking.keys import HELD
from thriftune.tracking.records import last_machine_rows, read_metrics

pytestmark = pytest.mark.integration

TINY = (
    "corpus.source=files,corpus.files.posts=posts.csv,corpus.files.annotations=annotations.csv,"
    "training.max_length=64,training.overlap=8,"
    "encoders.tiny.hidden_size=16,encoders.tiny.layers=1,encoders.tiny.attention_heads=2,"
    "encoders.tiny.intermediate_size=32,training.threads=1,evaluation.bootstrap_samples=0,"
    "storage.free_disk_watermark=0.0"
)


def kedro(
    project: Path, params: str, program: str = "", pipeline: str = "hpo"
) -> subprocess.CompletedProcess[str]:
    """`kedro run`, with a program before it."""
    code = f"import sys; sys.argv[0] = 'kedro'\n{program}\nfrom kedro.framework.cli import main\nmain()"
    return python(project, code, "run", "--pipelines", pipeline, "--params", params, timeout=7200)


def best_sha256(project: Path) -> str:
    evaluation = json.loads(next(project.glob("data/06_models/*/evaluation.json")).read_text())
    return str(evaluation["checkpoints"][0]["sha256"])


def values(project: Path) -> dict[str, list[Any]]:
    """Every metric but the machine's, by trial folder."""
    found = {}
    for path in sorted(project.glob("data/06_models/*/trials/*/metrics.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found[path.parent.name] = sorted(
            (row["key"], row["step"], row["value"])
            for row in rows
            if "key" in row and not row["key"].startswith("system/")
        )
    return found


@contextmanager
def watched(folder: Path, interval: float = 0.05) -> Iterator[list[int]]:
    """A process of its own that adds up the bytes below a folder every 50 ms."""
    program = (
        "import sys, time; from pathlib import Path; from thriftune.files import directory_bytes\n"
        "most = 0\n"
        "while True:\n"
        "    most = max(most, directory_bytes(Path(sys.argv[1])))\n"
        "    print(most, flush=True)\n"
        f"    time.sleep({interval})\n"
    )
    most: list[int] = [0, 0]
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True
    ) as watcher:

        def read() -> None:
            assert watcher.stdout is not None
            for line in watcher.stdout:
                most[0], most[1] = int(line), most[1] + 1

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield most
        finally:
            watcher.kill()
            reader.join()


# The most below data/ before a rename: a save has then written everything, and deleted nothing yet.
NOTE_THE_MOST = """
from pathlib import Path
from thriftune import files
most = 0
def note(event):
    global most
    if event.operation == "rename" and (held := files.directory_bytes(Path("data"))) > most:
        most = held
        Path("most").write_text(str(most))
files.observer = note
"""


@pytest.mark.parametrize(
    ("trials", "epochs", "budget", "times"),
    [
        pytest.param(3, 4, 20_000_000, 1.2, id="3 trials in 20 MB"),
        pytest.param(
            60,
            8,
            30_000_000,
            20,
            id="60 trials in 30 MB",
            marks=[pytest.mark.slow, pytest.mark.timeout(3600)],
        ),
    ],
)
def test_a_watcher_never_sees_more_than_the_budget(
    tmp_path: Path, trials: int, epochs: int, budget: int, times: float
) -> None:
    """Sampled from outside, and at each rename from inside, everything below data/; the same best and metrics
    as the study that keeps everything; and the most that is held is what was forecast, without ties."""
    (tmp_path / "frugal").mkdir()
    (tmp_path / "lavish").mkdir()
    frugal, lavish = copy_project(tmp_path / "frugal"), copy_project(tmp_path / "lavish")
    common = (
        "corpus.source=files,corpus.files.posts=posts.csv,corpus.files.annotations=annotations.csv,"
        f"study.trials={trials},training.epochs={epochs},training.threads=1,"
        "evaluation.bootstrap_samples=0,storage.free_disk_watermark=0.0,storage.keep_best_k_max=1"
    )
    params = f"{common},storage.max_total_size={budget}"
    assert kedro(frugal, params, pipeline="ingest").returncode == 0
    foretold = thriftune(frugal, "storage", "forecast", "--json", "--params", params)
    assert foretold.returncode == 0, foretold.stderr
    forecast = json.loads(foretold.stdout)
    with watched(frugal / "data") as sampled, ThreadPoolExecutor(1) as beside:
        keeping_all = beside.submit(kedro, lavish, f"{common},storage.dry_run=true")
        done = kedro(frugal, params, NOTE_THE_MOST)
    assert done.returncode == 0, done.stderr
    most = int((frugal / "most").read_text(encoding="utf-8"))
    assert sampled[1] > 50
    assert max(sampled[0], most) <= budget, done.stderr
    assert (done := keeping_all.result()).returncode == 0, done.stderr
    written = sum(
        sum(fact["size"] for fact in json.loads(path.read_text())["files"].values())
        for path in lavish.glob("data/06_models/*/trials/*/checkpoints/*/manifest.json")
    )
    print(
        f"at most {most} of {budget} bytes, {sampled[0]} in {sampled[1]} samples; "
        f"keeping all takes {written}; {forecast}"
    )
    assert best_sha256(frugal) == best_sha256(lavish)
    assert values(frugal) == values(lavish)
    assert len(values(frugal)) == trials
    assert written >= times * budget
    assert forecast["written_bytes"] == pytest.approx(written, rel=0.02)
    if trials == 60:
        assert forecast["most_bytes"] == pytest.approx(most, rel=0.02)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a finished study of two trials."""
    project = copy_project(tmp_path_factory.mktemp("finished"))
    done = kedro(project, f"study.trials=2,training.epochs=2,{TINY}")
    assert done.returncode == 0, done.stderr
    return project


def test_a_best_without_a_valid_copy_is_trained_again(finished: Path, tmp_path: Path) -> None:
    """Same weights, same evaluation; the log says so and the damaged copy is set aside."""
    project = tmp_path / "project"
    shutil.copytree(finished, project, symlinks=True)
    evaluation = next(project.glob("data/06_models/*/evaluation.json"))
    before = json.loads(evaluation.read_text())
    evaluation.unlink()
    checkpoint = evaluation.parent / before["checkpoints"][0]["path"] / MODEL
    content = bytearray(checkpoint.read_bytes())
    content[-5] ^= 1
    checkpoint.write_bytes(bytes(content))
    found = thriftune(project, "storage", "verify", "--json")
    assert found.returncode == 1
    assert [Path(row["file"]).name for row in json.loads(found.stdout)] == [MODEL]
    done = kedro(project, f"study.trials=2,training.epochs=2,{TINY}")
    assert done.returncode == 0, done.stderr
    assert "is retrained" in done.stdout + done.stderr
    after = json.loads(evaluation.read_text())
    assert after["checkpoints"][0]["sha256"] == before["checkpoints"][0]["sha256"]
    assert after["test_metrics"] == before["test_metrics"]
    assert list(evaluation.parent.glob("trials/*/checkpoints/quarantine-*"))
    cleaned = thriftune(project, "storage", "clean", "--yes", "--json")
    assert [row["kind"] for row in json.loads(cleaned.stdout)] == ["quarantined"]
    assert thriftune(project, "storage", "verify").returncode == 0


def test_the_curves_outlive_every_checkpoint(finished: Path, tmp_path: Path) -> None:
    """All checkpoints removed: every point of every curve is in MLflow and in the journals, the same."""
    project = tmp_path / "project"
    shutil.copytree(finished, project, symlinks=True)
    for folder in project.glob("data/06_models/*/trials/*/checkpoints"):
        shutil.rmtree(folder)
    check_complete(project, study="sample")
    client = MlflowClient(tracking_uri=f"sqlite:///{project}/data/tracking/mlflow.db")
    for journal in project.glob("data/06_models/*/trials/*/metrics.jsonl"):
        drawn = [(row.step, row.value) for row in read_metrics(journal) if row.key == f"validation/{METRIC}"]
        assert [step for step, _ in drawn] == [1, 2]
        number = int(journal.parent.name.split("_")[1])
        (run,) = client.search_runs(["1"], f"tags.`thriftune.trial` = '{number}'")
        history = client.get_metric_history(run.info.run_id, f"validation/{METRIC}")
        assert [(point.step, point.value) for point in history] == drawn


ALONE = """
import sys; sys.path.append({packages!r})
import importlib.util, json; assert importlib.util.find_spec("thriftune") is None
sys.path.insert(0, {target!r})
from dual_agent import Predictor
agent = Predictor.load({target!r})
texts = json.loads(open({texts!r}).read())
print(json.dumps([agent(texts, batch_size=7), agent([texts[0]]), agent([]), agent([" ".join(texts[:80])])]))
"""


def test_an_exported_model_works_without_this_project(finished: Path, tmp_path: Path) -> None:
    """Where thriftune cannot be imported it says of the test posts what predictions.jsonl says, and of texts
    that are empty, or longer than many windows; its script runs; a second export does not overwrite."""
    target = tmp_path / "model"
    done = thriftune(finished, "checkpoint", "export", "sample", str(target))
    assert done.returncode == 0, done.stderr
    (predicted,) = finished.glob("data/06_models/*/predictions.jsonl")
    expected = [json.loads(line) for line in predicted.read_text(encoding="utf-8").splitlines()]
    wanted = {row["post_id"] for row in expected}
    posts = {
        post.post_id: post.text for post in CorpusStore(finished / "data/03_primary").current().posts("test")
    }
    texts = [posts[row["post_id"]] for row in expected] + ["", "   "]
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    program = ALONE.format(packages=packages, target=str(target), texts=str(tmp_path / "texts.json"))
    alone = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert alone.returncode == 0, alone.stderr
    whole, single, nothing, long = json.loads(alone.stdout)
    assert nothing == []
    assert len(whole) == len(wanted) + 2
    for row, found in zip(expected, whole, strict=False):
        for name, value in row["criteria"].items():
            assert found["criteria"][name]["met"] == value["predicted"]
            assert found["criteria"][name]["probability"] == pytest.approx(value["probability"], abs=1e-4)
        ranges = [(item["criterion"], item["start"], item["end"]) for item in found["evidence"]]
        assert sorted(ranges) == sorted((e["criterion"], e["start"], e["end"]) for e in row["evidence"])
        text = posts[row["post_id"]]
        assert all(item["text"] == text[item["start"] : item["end"]] for item in found["evidence"])
    assert [item["evidence"] for item in whole[-2:]] == [[], []]
    for name, value in whole[0]["criteria"].items():
        assert single[0]["criteria"][name]["probability"] == pytest.approx(value["probability"], abs=1e-5)
    assert len(long[0]["criteria"]) == 9
    script = subprocess.run(
        [sys.executable, "predict.py", "I cannot sleep."],
        cwd=target,
        capture_output=True,
        text=True,
        check=False,
    )
    assert script.returncode == 0, script.stderr
    assert json.loads(script.stdout)["criteria"].keys() == whole[0]["criteria"].keys()
    again = thriftune(finished, "checkpoint", "export", "sample", str(target))
    assert again.returncode == 2
    assert "not empty" in again.stderr


def test_without_checkpoints_there_are_metrics_alone(tmp_path: Path) -> None:
    """storage.checkpointing=false: no checkpoint, no test evaluation, said in one line, exit code 0."""
    project = copy_project(tmp_path)
    done = kedro(project, f"study.trials=2,training.epochs=2,storage.checkpointing=false,{TINY}")
    assert done.returncode == 0, done.stderr
    assert "no model to evaluate" in done.stdout + done.stderr
    assert not list(project.glob("data/06_models/*/trials/*/checkpoints/*"))
    assert not list(project.glob("data/06_models/*/evaluation.json"))
    assert all(rows for rows in values(project).values())


KILL_IN_THIRD_EPOCH = """
import os
from thriftune import files
def die(event):
    if event.operation == "create" and event.path.parent.name == ".tmp-epoch_0003":
        os.kill(os.getpid(), 9)
files.observer = die
"""


def test_an_interrupted_trial_is_rolled_back(tmp_path: Path) -> None:
    """It resumes from the earlier epoch and ends the same; an epoch that is not there is refused."""
    project = copy_project(tmp_path)
    params = f"study.trials=1,training.epochs=3,storage.keep_last_n=2,{TINY}"
    assert kedro(project, params, KILL_IN_THIRD_EPOCH).returncode == -9
    refused = thriftune(project, "checkpoint", "rollback", "sample", "0", "9")
    assert refused.returncode == 2
    assert "choose one of [1, 2]" in refused.stderr
    dry = thriftune(project, "checkpoint", "rollback", "sample", "0", "1")
    assert "would set aside epoch_0002" in dry.stdout, dry.stderr
    assert thriftune(project, "checkpoint", "rollback", "sample", "0", "1", "--yes").returncode == 0
    done = kedro(project, params)
    assert done.returncode == 0, done.stderr
    assert "after epoch 1" in done.stdout + done.stderr
    over = thriftune(project, "checkpoint", "rollback", "sample", "0", "1")
    assert over.returncode == 2
    assert "has already ended" in over.stderr


def test_the_dataset_behaves_in_a_plain_catalog(finished: Path) -> None:
    """catalog.load gives the store, exists and preview say what is kept and why."""
    catalog = DataCatalog(
        {"checkpoints": CheckpointDataset(filepath=str(finished / "data/06_models"), study="sample")}
    )
    assert catalog.exists("checkpoints")
    store = catalog.load("checkpoints")
    assert store.best() is not None
    assert "CheckpointStore('" in repr(store)
    assert "trial " in repr(store)
    entry = {
        "type": "thriftune.datasets.checkpoint_dataset.CheckpointDataset",
        "filepath": str(finished / "data/06_models"),
        "study": "sample",
    }
    assert DataCatalog.from_config({"checkpoints": entry}).exists("checkpoints")
    with pytest.raises(DatasetError, match="its epochs are its versions"):
        DataCatalog.from_config({"checkpoints": {**entry, "versioned": True}})["checkpoints"]
    table: dict[str, Any] = dict(catalog["checkpoints"].preview())
    assert table["columns"] == ["trial", "epoch", "value", "holds", "bytes", "why"]
    assert "the study's best" in table["data"][0][-1]
    assert files.directory_bytes(store.folder) > table["data"][0][4]


def test_kedro_viz_previews_history_scores_and_bytes(finished: Path) -> None:
    """As its records have them; of a study that is not there, nothing."""
    models, tracking = str(finished / "data/06_models"), str(finished / "data/tracking")
    history = StudyDataset(filepath=tracking, models=models, study="sample").preview()
    held = SavedCheckpointsDataset(filepath=models, study="sample").preview()
    scores = EvaluationDataset(filepath=str(finished / "data/08_reporting/evaluation.json")).preview()
    journals = sorted(finished.glob("data/06_models/study_sample-*/trials/*/metrics.jsonl"))
    assert list(history["data"][0]["x"]) == list(range(len(journals)))
    assert list(held["data"][0]["y"]) == [last_machine_rows(path)[HELD] for path in journals]
    assert len(scores["data"][0]["x"]) == 9
    assert StudyDataset(filepath=tracking, models=models, study="none").preview() == {}
