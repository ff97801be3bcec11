"""Trials that fail: each is recorded with its reason, leaves no model, and the study goes on."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import TINY, small_parameters, write_small_tables
from tests.integration.conftest import SMALL, copy_project, python
from tests.support.studies import facts, in_child, parts, run

from thriftune import files
from thriftune.config import EncoderFromConfig, Parameters
from thriftune.corpus.ingestion import ingest
from thriftune.errors import StudyError
from thriftune.model.encoder import build_encoder
from thriftune.runner import trial_training
from thriftune.runner.run import run_search
from thriftune.search.optuna_study import OptunaStudy

pytestmark = pytest.mark.integration

# The whole command with little memory to spare from the first trial on. At each trial's end it notes how many
# weights are alive; Python's collector is off, so that nothing but the command itself frees one.
PROGRAM = """
import gc, resource, sys
from pathlib import Path
from thriftune import files
SPARE = 700_000_000
def alive():
    from torch.nn import Parameter
    return sum(isinstance(each, Parameter) for each in gc.get_objects())
rows = 0
def observe(event):
    global rows
    if event.operation == "optuna_add_trial":
        rows = 0
        gc.disable()
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + SPARE, resource.RLIM_INFINITY))
    rows += event.operation == "append"
    # Counting looks at every object, so in a trial it is done once: at its first row of training.
    if event.operation == "optuna_tell" or (event.operation == "append" and rows == 2):
        with Path("alive").open("a") as notes:
            notes.write(f"{event.operation} {alive()}\\n")
files.observer = observe
sys.argv = ["kedro", "run", "--pipelines", "hpo", "--params", sys.argv[1]]
from kedro.framework.cli import main
main()
"""
WIDE = {**TINY, "intermediate_size": 300_000}
"""Its activations need gigabytes, its weights 40 MB."""
CASES: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"encoder": "wide"}, "out of memory: "),
    ({"encoder": "huge"}, "out of memory: "),
    ({"encoder": "truncated"}, "encoder: the encoder in truncated cannot be loaded: SafetensorError: "),
    ({"encoder": "unknown"}, "encoder: the encoder in unknown cannot be loaded: ValueError: "),
    ({"training.max_length": 128}, "training.max_length: expected at most the encoder's window of 64 tokens"),
    (
        {"model.fine_tuning": "lora", "model.lora.target_modules": "q_proj"},
        "model.lora.target_modules: BertMod",
    ),
    ({"training.learning_rate": 1e30}, "diverged: the loss is nan and the gradient norm nan at step "),
    ({"training.batch_size": 8}, ""),
]


def broken_encoders(project: Path) -> None:
    """Two directories as transformers saves a model: one cut short, one of an architecture nobody knows."""
    made = build_encoder(EncoderFromConfig(**TINY), lambda: ["a b c"], project / "made")
    for name in ("truncated", "unknown"):
        made.tokenizer.save_pretrained(str(project / name))
        made.instantiate().save_pretrained(str(project / name))
    weights, config = project / "truncated/model.safetensors", project / "unknown/config.json"
    weights.write_bytes(weights.read_bytes()[:-1000])
    changed = json.loads(config.read_text(encoding="utf-8")) | {"model_type": "perceiving_otter"}
    config.write_text(json.dumps(changed), encoding="utf-8")


def records(project: Path, kind: str) -> list[dict[str, Any]]:
    """A record of each trial's journal."""
    journals = sorted(project.glob("data/06_models/study_*/trials/*/metrics.jsonl"))
    lines = [map(json.loads, path.read_text(encoding="utf-8").splitlines()) for path in journals]
    return [next(line for line in each if line.get("kind") == kind) for each in lines]


def test_each_failure_is_recorded_and_the_next_trial_begins(tmp_path: Path) -> None:
    """Memory that runs out in training and in building, encoders that cannot be loaded, combinations that
    only one trial has, a loss that is not finite: journal, Optuna and MLflow have the reason; no model
    stays."""
    project = copy_project(tmp_path)
    broken_encoders(project)
    settings = {
        "encoders": {"tiny": TINY, "wide": WIDE, "huge": {**TINY, "intermediate_size": 30_000_000}},
        "search": {"space": {}, "baselines": [overrides for overrides, _ in CASES]},
    }
    (project / "conf/local/parameters.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    extra = f",study.trials={len(CASES)},study.max_failed_trials={len(CASES)},training.clip_norm=null"
    extra += ",training.warmup_share=0.0,training.epochs=1"
    params = SMALL.replace("study.trials=2,training.epochs=2,", "") + extra
    done = python(project, PROGRAM, params)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    ends = records(project, "end")
    for number, (end, (_, reason)) in enumerate(zip(ends, CASES, strict=True)):
        assert end["state"] == ("failed" if reason else "complete"), end
        assert str(end["reason"] or "").startswith(reason)
        assert (f"trial {number} failed: " in done.stderr) == bool(reason)
    reasons = {str(number): end["reason"] for number, end in enumerate(ends) if end["reason"]}
    assert "can't allocate memory" in reasons["1"]
    assert "can't allocate memory" in reasons["2"]
    with closing(sqlite3.connect(project / "data/tracking/optuna.db")) as database:
        query = (
            "select t.number, a.value_json from trials t join trial_user_attributes a "
            "on a.trial_id = t.trial_id and a.key = 'reason' where t.state = 'FAIL'"
        )
        told = {str(number): json.loads(value) for number, value in database.execute(query)}
    assert told == reasons
    with closing(sqlite3.connect(project / "data/tracking/mlflow.db")) as database:
        query = (
            "select n.value, r.value from tags n join tags s on s.run_uuid = n.run_uuid and "
            "s.key = 'thriftune.state' and s.value = 'failed' join tags r on r.run_uuid = n.run_uuid and "
            "r.key = 'thriftune.reason' join runs u on u.run_uuid = n.run_uuid and u.status = 'FAILED' "
            "where n.key = 'thriftune.trial'"
        )
        assert dict(database.execute(query).fetchall()) == reasons
    notes = [line.split() for line in (project / "alive").read_text(encoding="utf-8").splitlines()]
    assert max(int(count) for operation, count in notes if operation == "append") > 10
    failed = [n for n, (operation, _) in enumerate(notes) if operation == "optuna_tell"]
    kept = [notes[at][1] for at, (_, reason) in zip(failed, CASES, strict=True) if reason]
    assert kept == ["0"] * len(reasons)


EXPLODING = {"training.learning_rate": 1e4, "training.batch_size": 128}
"""One step an epoch; weight decay makes the weights overflow, after epochs that were saved."""


def exploding(root: Path) -> Parameters:
    """A study whose first trial holds the best when it breaks down, and whose third does not."""
    base = small_parameters(root)
    training = {**base.training.model_dump(), "clip_norm": None, "warmup_share": 0.0, "epochs": 6}
    baselines = [EXPLODING, {}, {**EXPLODING, "model.head_dropout": 0.2}]
    search, storage = {"space": {}, "baselines": baselines}, {"keep_best_k_max": 1}
    return small_parameters(root, training=training, search=search, storage=storage)


@pytest.fixture(scope="module")
def broken_down(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What that study ends with, when nothing interrupts it."""
    root = tmp_path_factory.mktemp("whole")
    write_small_tables(root)
    parameters = exploding(root)
    run(parameters)
    first, second, third = OptunaStudy.open(parts(parameters)[1], parameters).trials()
    assert (first.state.name, second.state.name, third.state.name) == ("COMPLETE", "COMPLETE", "FAIL")
    for trial in (first, third):
        assert len(trial.intermediate_values) >= 2
        assert trial.user_attrs["reason"].startswith("diverged: ")
    assert first.value == max(first.intermediate_values.values())
    (kept,) = parts(parameters)[2].entries()
    assert kept.manifest.trial == second.number
    return facts(parameters)


@pytest.mark.parametrize(
    ("operation", "at"),
    [
        pytest.param("rename", 4, marks=pytest.mark.slow),
        ("optuna_tell", 1),
        pytest.param("optuna_tell", 3, marks=pytest.mark.slow),
    ],
    ids=["after a save", "the best, recorded and not told", "failed, recorded and not told"],
)
def test_interrupted_and_resumed_it_fails_the_same(
    small: Path, broken_down: dict[str, Any], operation: str, at: int
) -> None:
    """Killed in a trial that is going to fail, or between the journal's record and Optuna's: the same end."""
    parameters = exploding(small)
    counted = 0

    def die(event: files.Event) -> None:
        nonlocal counted
        counted += event.operation == operation
        if counted == at:
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(parameters, die) == -signal.SIGKILL
    assert in_child(parameters, None) == 0
    assert facts(parameters) == broken_down
    trials = OptunaStudy.open(parts(parameters)[1], parameters).trials()
    assert [trial.user_attrs.get("reason") is None for trial in trials] == [False, True, False]


def test_a_checkpoint_in_flight_counts_when_its_trial_fails(
    small: Path, broken_down: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only save of the first trial is still being written when the loss overflows: once committed it is
    the study's best, and so the trial is complete."""
    last = max(broken_down["trials"][0][4])
    base = exploding(small)
    parameters = base.model_copy(
        update={"storage": base.storage.model_copy(update={"min_interval_epochs": last})}
    )

    def slow(event: files.Event) -> None:
        if event.operation == "rename" and event.path.name.startswith("epoch_"):
            time.sleep(2)

    corpora, study, store = parts(parameters)
    corpus = ingest(parameters.corpus, corpora, lambda line: None)
    monkeypatch.setattr(files, "observer", slow)
    for checkpoint in run_search(parameters, corpus, study, store):
        store.submit(checkpoint)
    first = OptunaStudy.open(parts(parameters)[1], parameters).trials()[0]
    assert (first.state.name, list(first.intermediate_values)) == ("COMPLETE", [last])
    assert first.user_attrs["reason"].startswith("diverged: ")


def test_too_many_in_a_row_are_told_with_what_they_had_in_common(small: Path) -> None:
    """The causes counted, the values that no good trial had; the same command says the same; with the limit
    raised it goes on, and a last failure does not keep a finished study from its end."""
    diverging = {"training.learning_rate": 1e30}
    baselines = [
        {},
        diverging,
        {"training.max_length": 128, **diverging},
        {"model.head_dropout": 0.2},
        diverging,
    ]
    settings = {
        "training": {**small_parameters(small).training.model_dump(), "clip_norm": None, "epochs": 1},
        "search": {"space": {}, "baselines": baselines},
    }
    study = {"name": "row", "trials": 5, "max_failed_trials": 2}
    parameters = small_parameters(small, study=study, **settings)
    for _ in range(2):
        with pytest.raises(StudyError) as caught:
            run(parameters)
        message = str(caught.value)
        assert "2 trials in a row have failed: diverged (1 of 2; trial 1: the loss is" in message
        assert "training.max_length (1 of 2; trial 2: expected at most" in message
        assert "all had training.learning_rate = 1e+30; no successful trial had any of these" in message
        assert len(OptunaStudy.open(parts(parameters)[1], parameters).trials()) == 3
    run(small_parameters(small, study={**study, "max_failed_trials": 3}, **settings))
    lowered = small_parameters(small, study={**study, "max_failed_trials": 1}, **settings)
    run(lowered)
    states = [trial.state.name for trial in OptunaStudy.open(parts(lowered)[1], lowered).trials()]
    assert states == ["COMPLETE", "FAIL", "FAIL", "COMPLETE", "FAIL"]


def test_a_combination_that_makes_no_configuration_is_that_trials_failure(small: Path) -> None:
    """Of a grid's four cells one has more overlap than half a window: recorded, and no other is lost. The
    databases, deleted afterwards, get the run back."""
    space = {
        "training.max_length": {"type": "categorical", "choices": [64, 32]},
        "training.overlap": {"type": "categorical", "choices": [8, 32]},
    }
    parameters = small_parameters(
        small,
        training={**small_parameters(small).training.model_dump(), "epochs": 1},
        study={"name": "grid", "trials": 5},
        search={"sampler": "grid", "space": space},
    )
    assert in_child(parameters, None) == 0
    tracking = Path(parameters.tracking.root)
    aside = tracking.rename(small / "aside")
    assert in_child(parameters, None) == 0  # in processes of their own: MLflow keeps its connections
    trials = OptunaStudy.open(parts(parameters)[1], parameters).trials()
    failed = [trial for trial in trials if trial.state.name == "FAIL"]
    assert [trial.params for trial in failed] == [{"training.max_length": 32, "training.overlap": 32}]
    assert "overlap 32 is more than half of max_length 32" in failed[0].user_attrs["reason"]
    assert len(trials) == 5
    shown = shown_params(aside / "mlflow.db", failed[0].number)
    assert shown["training.overlap"] == shown["training.max_length"] == "32"
    assert shown_params(tracking / "mlflow.db", failed[0].number) == shown


def shown_params(database: Path, trial: int) -> dict[str, str]:
    """MLflow's parameters of a trial's run, which stands as failed."""
    query = (
        "select p.key, p.value from params p join tags t on t.run_uuid = p.run_uuid and "
        "t.key = 'thriftune.trial' and t.value = ? join runs r on r.run_uuid = p.run_uuid "
        "and r.status = 'FAILED'"
    )
    with closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute(query, (str(trial),)).fetchall())


def test_a_fault_of_ours_is_no_failure_of_the_trial(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the run as what it is; nothing is recorded, and once it is mended the trial goes on."""
    parameters = small_parameters(small, study={"name": "fault", "trials": 1})

    def faulty(*given: Any, **more: Any) -> None:
        raise ZeroDivisionError("no user's doing")

    with monkeypatch.context() as patched:
        patched.setattr(trial_training, "validate", faulty)
        with pytest.raises(ZeroDivisionError):
            run(parameters)
    (journal,) = parts(parameters)[1].folder.glob("trials/*/metrics.jsonl")
    assert '"kind": "end"' not in journal.read_text(encoding="utf-8")
    run(parameters)
    (trial,) = OptunaStudy.open(parts(parameters)[1], parameters).trials()
    assert (trial.state.name, trial.user_attrs["attempt"]) == ("COMPLETE", 2)
