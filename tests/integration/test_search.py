"""The search, its resume and its one test evaluation, on real training of a small study."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from sklearn.metrics import f1_score
from tests.conftest import small_parameters, write_small_tables
from tests.support.studies import evaluate, facts, in_child, parts, run

from thriftune import files
from thriftune.checkpoints.manifest import MANIFEST, MODEL
from thriftune.checkpoints.trials import Trials
from thriftune.config import Parameters, override
from thriftune.corpus.ingestion import ingest
from thriftune.errors import ConfigError, DataError, InterruptedRunError, OutOfStorageError, StudyError
from thriftune.maintenance import doctor_rows, flush_all, storage_rows, studies
from thriftune.maintenance.schemas import json_schema
from thriftune.runner.run import run_search
from thriftune.search.optuna_study import OptunaStudy
from thriftune.study.handle import as_single_trial
from thriftune.tracking.parent import connect
from thriftune.tracking.records import read_metrics

pytestmark = pytest.mark.integration


def overview_is_true(parameters: Parameters) -> None:
    """What the commands show is what is there; flush sends what a cursor says is missing, once."""
    _, study, store = parts(parameters)
    (listed,) = studies.list_studies(parameters)
    assert (listed["name"], listed["trials"], listed["evaluated"]) == ("small", "3/3", True)
    best = store.best()
    assert best is not None
    assert listed["best"] == best.manifest.value
    shown = studies.show_study(parameters, "small")
    assert [row["trial"] for row in shown["trials"]] == [0, 1, 2]
    assert shown["best"]["value"] == listed["best"]
    assert list(shown["overhead"]["trials"]) == [0, 1, 2]
    assert shown["seconds"] == pytest.approx(sum(shown["overhead"]["trial_seconds"]), rel=1e-3)
    with pytest.raises(StudyError, match="did you mean 'small'"):
        studies.show_study(parameters, "smal")
    (held,) = storage_rows(parameters)
    assert held.checkpoint_bytes + held.other_bytes == listed["bytes"]
    assert doctor_rows(parameters)["store optuna.db"] == "present"
    for name in ("manifest", "parameters", "evaluation", "trial"):
        assert json_schema(name)["type"] == "object"
    assert flush_all(parameters) == 0
    journal = next(study.folder.glob("trials/*/metrics.jsonl"))
    (journal.parent / "tracking.json").unlink()
    assert flush_all(parameters) == len(read_metrics(journal))
    assert flush_all(parameters) == 0


def page_is_true(folder: Path, parameters: Parameters) -> None:
    """Counts are those of predictions.jsonl; quotations are of test posts; a page that was deleted is written
    again from the records alone, without quotations where there is no corpus or none are wanted."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text("utf-8").splitlines()]
    for name in lines[0]["criteria"]:
        hits = sum(line["criteria"][name]["predicted"] and line["criteria"][name]["true"] for line in lines)
        table = re.sub(
            r"<[^>]+>|\s+", " ", page.partition(f"<caption>{name}</caption>")[2].partition("</table>")[0]
        )
        assert int(table.split()[-1]) == hits
    quoted = re.findall(r"<h3>.+? <small>(.+?)</small></h3>", page)
    assert quoted
    assert set(quoted) <= {line["post_id"] for line in lines}
    assert page.count("<svg") == 5  # of three trials none mattered
    assert page_again(folder, parameters) == page
    unquoted = page_again(folder, override(parameters, {"evaluation.examples": 0}))
    assert "evaluation.examples=0: no posts" in unquoted
    assert "<blockquote>" not in unquoted
    predictions = (folder / "predictions.jsonl").read_bytes()
    for content in (predictions[:-30], b""):
        (folder / "predictions.jsonl").write_bytes(content)
        assert "is not what the evaluation left, so no posts" in page_again(folder, parameters)
    (folder / "predictions.jsonl").write_bytes(predictions)
    corpora = Path(parameters.corpus.root)
    corpora.rename(corpora.with_name("aside"))
    assert "The corpus is no longer there, so no posts" in page_again(folder, parameters)
    corpora.with_name("aside").rename(corpora)


def page_again(folder: Path, parameters: Parameters) -> str:
    """The page, deleted and written anew."""
    (folder / "report.html").unlink()
    evaluate(parameters)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_a_study_from_posts_to_one_test_evaluation(small: Path) -> None:
    """Search, evaluation, report: figures agree with scikit-learn on what was written."""
    parameters = small_parameters(small, storage={"keep_best_k_max": 1})  # of so few posts values tie exactly
    run(parameters)
    evaluation = evaluate(parameters)
    _, study, _ = parts(parameters)
    lines = (study.folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    posts = [json.loads(line) for line in lines]
    names = list(posts[0]["criteria"])
    truth = np.array([[post["criteria"][n]["true"] for n in names] for post in posts])
    guess = np.array([[post["criteria"][n]["predicted"] for n in names] for post in posts])
    figures = evaluation["test_metrics"]["criteria"]
    assert figures["f1_macro"] == pytest.approx(f1_score(truth, guess, average="macro", zero_division=0))
    assert figures["f1_micro"] == pytest.approx(f1_score(truth, guess, average="micro", zero_division=0))
    page_is_true(study.folder, parameters)
    assert {len(list(p.glob("epoch_*"))) for p in study.folder.glob("trials/*/checkpoints")} <= {0, 1}
    sink = connect(parameters)
    runs = sink._client.search_runs([sink._experiment])
    assert len(runs) == 4
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    copy = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/report.html")
    assert "<svg" in copy
    assert "<blockquote>" not in copy
    assert sum("mlflow.parentRunId" in run.data.tags for run in runs) == 3
    assert {run.info.status for run in runs if "mlflow.parentRunId" in run.data.tags} == {"FINISHED"}
    overview_is_true(parameters)
    before = facts(parameters)
    run(parameters)
    assert facts(parameters) == before
    assert evaluate(parameters)["evaluations"] == evaluation["evaluations"]
    with pytest.raises(StudyError, match=r"evaluation\.force"):
        evaluate(parameters, explicit=True)
    forced = evaluate(small_parameters(small, evaluation={"force": True}), explicit=True)
    assert [item["forced"] for item in forced["evaluations"]] == [False, True]
    assert forced["test_metrics"] == evaluation["test_metrics"]
    with pytest.raises(StudyError, match=r"study\.extend"):
        run(small_parameters(small, study={"name": "small", "trials": 5}))
    with pytest.raises(StudyError, match="seed"):
        run(small_parameters(small, study={"name": "small", "trials": 3, "seed": 1}))


@pytest.mark.parametrize(
    ("first", "later"), [(1e-7, 1e-2), (1e-2, 1e-7)], ids=["by a better trial", "by a worse trial"]
)
def test_an_extended_study_says_whether_its_best_changed(
    small: Path, caplog: pytest.LogCaptureFixture, first: float, later: float
) -> None:
    """Evaluated after one trial, then extended by a better one or a worse one: test is not read again by
    itself; asked for and forced, the record says why."""

    def settings(trials: int, **evaluation: Any) -> Parameters:
        space = {"training.learning_rate": {"type": "float", "low": later, "high": 1.1 * later}}
        return small_parameters(
            small,
            training={"learning_rate": first, "epochs": 4},
            study={"name": "small", "trials": trials, "extend": True},
            search={"space": space},
            evaluation=evaluation,
        )

    run(settings(1))
    before = evaluate(settings(1))
    run(settings(2))
    caplog.clear()
    with caplog.at_level("INFO"):
        assert evaluate(settings(2)) == before
    with pytest.raises(StudyError) as refused:
        evaluate(settings(2), explicit=True)
    forced = evaluate(settings(2, force=True), explicit=True)
    reason = forced["evaluations"][-1]["reason"]
    assert [item["forced"] for item in forced["evaluations"]] == [False, True]
    assert reason.startswith("evaluation.force=true; ")
    if later > first:
        assert forced["best_trial"] == 1
        told = "the study's best has changed since it was evaluated: now trial 1 with"
        assert told in caplog.text
        assert '"study.name=small,evaluation.force=true"` evaluates the new best' in caplog.text
        assert told in str(refused.value)
        assert told in reason
    else:
        assert forced["best_trial"] == 0
        assert "trial 0 is still its best" in caplog.text
        assert "its best is still the one that was evaluated" in str(refused.value)
        assert reason.endswith("the study's best is the same as before")


def test_killed_at_many_moments_it_ends_the_same(tmp_path_factory: pytest.TempPathFactory) -> None:
    """SIGKILL before chosen durable operations of a whole run, each followed by the same command."""
    whole, killed = (tmp_path_factory.mktemp(name) for name in ("whole", "killed"))
    for folder in (whole, killed):
        write_small_tables(folder)
    reference = small_parameters(whole)
    total = 0

    def count(event: files.Event) -> None:
        nonlocal total
        total += 1

    files.observer = count
    try:
        run(reference)
    finally:
        files.observer = None
    parameters = small_parameters(killed)
    kills = 0
    for number in range(8):
        seen = 0

        def die(event: files.Event, at: int = total // 10 + number * 7) -> None:
            nonlocal seen
            seen += 1
            if seen == at:
                os.kill(os.getpid(), signal.SIGKILL)

        code = in_child(parameters, die)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
    assert kills >= 3
    assert in_child(parameters, None) == 0
    assert facts(parameters) == facts(reference)


def test_a_signal_ends_the_run_in_order(small: Path) -> None:
    """SIGTERM in the middle: InterruptedRunError, exit code 130; the next run ends the study."""
    parameters = small_parameters(small, study={"name": "small", "trials": 1})
    corpora, study, store = parts(parameters)
    corpus = ingest(parameters.corpus, corpora, lambda line: None)
    search = run_search(parameters, corpus, study, store)
    store.save(next(search))
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(InterruptedRunError) as caught:
        next(search)
    assert caught.value.exit_code == 130
    assert evaluate(parameters)["state"] == "unfinished"
    with pytest.raises(StudyError, match="not finished"):
        evaluate(parameters, explicit=True)
    run(parameters)
    assert evaluate(parameters)["best_trial"] == 0


def test_failures_of_trials_are_recorded_and_end_the_study(small: Path) -> None:
    """Optuna and the error have the reason of each diverging trial; too many in a row end the search."""
    parameters = small_parameters(
        small,
        training={
            "epochs": 1,
            "batch_size": 8,
            "max_length": 64,
            "overlap": 8,
            "learning_rate": 1e30,
            "threads": 1,
            "device": "cpu",
            "clip_norm": None,
            "warmup_share": 0.0,
        },
        search={"space": {}},
        study={"name": "small", "trials": 4, "max_failed_trials": 2},
    )
    with pytest.raises(
        StudyError, match=r"2 trials in a row have failed: diverged \(2 of 2; trial 0: the loss"
    ):
        run(parameters)
    failed = OptunaStudy.open(parts(parameters)[1], parameters).trials()
    assert [trial.state.name for trial in failed] == ["FAIL", "FAIL"]
    assert all(trial.user_attrs["reason"].startswith("diverged: the loss is ") for trial in failed)


def test_what_cannot_work_is_refused_before_anything_is_made(small: Path) -> None:
    """A metric that validation does not make, a save interval beyond the epochs, a tiny budget."""
    cases: list[tuple[dict[str, dict[str, Any]], type[Exception], str]] = [
        ({"study": {"name": "x", "metric": "criteria.f1_makro"}}, ConfigError, "did you mean"),
        (
            {"storage": {"root": str(small / "models"), "min_interval_epochs": 9}},
            ConfigError,
            "no checkpoint",
        ),
        ({"storage": {"root": str(small / "models"), "max_total_size": "1kB"}}, OutOfStorageError, "least"),
        ({"training": {"max_length": 128, "device": "cpu", "threads": 1}}, ConfigError, "window"),
    ]
    for sections, kind, text in cases:
        with pytest.raises(kind, match=text):
            run(small_parameters(small, **sections))
    assert not (small / "models").exists()


def test_either_agent_alone_and_a_pruner(small: Path) -> None:
    """A study of one agent trains, prunes, and is evaluated without the other's figures."""
    parameters = small_parameters(
        small,
        model={"evidence_agent": {"weight": 0.0}, "criteria_agent": {"pooling": "cls", "head": "mlp"}},
        study={"name": "solo", "trials": 4, "metric": "criteria.f1_macro", "stop_after_no_gain": 3},
        search={
            "sampler": "random",
            "pruner": "median",
            "pruner_startup_trials": 1,
            "pruner_warmup_epochs": 0,
            "space": {"training.learning_rate": {"type": "float", "low": 1e-6, "high": 1e-2}},
        },
    )
    run(parameters)
    assert set(evaluate(parameters)["test_metrics"]) == {"criteria"}


@pytest.mark.parametrize("fine_tuning", ["heads", "lora"])
def test_a_frozen_base_that_was_drawn_is_the_same_at_the_evaluation(small: Path, fine_tuning: str) -> None:
    """The embedded encoder's weights come from the seed: whoever builds the agent gets the same base."""
    parameters = small_parameters(
        small, model={"fine_tuning": fine_tuning}, study={"name": "frozen", "trials": 1}
    )
    run(parameters)
    assert evaluate(parameters)["best_trial"] == 0


def test_a_test_split_that_does_not_fit_stops_before_it_is_written(small: Path) -> None:
    """Tokens and predictions of the test split count too: said before the search, kept in the evaluation."""
    rows = (small / "posts.csv").read_text(encoding="utf-8").splitlines()
    header, first = rows[0], rows[1:]
    more = [f"extra{n},I slept well and ate well on day {n} of the year" for n in range(3000)]
    (small / "posts.csv").write_text("\n".join([header, *first, *more]) + "\n", encoding="utf-8")
    import csv

    with (small / "posts.csv").open(encoding="utf-8", newline="") as handle:
        ids = [row["post_id"] for row in csv.DictReader(handle)]
    splits = [
        f"{i},{'test' if i.startswith('extra') else ['train', 'validation'][n % 2]}"
        for n, i in enumerate(ids)
    ]
    (small / "splits.csv").write_text("post_id,split\n" + "\n".join(splits) + "\n", encoding="utf-8")
    base = small_parameters(small)
    files_given = {**base.corpus.files.model_dump(), "splits": str(small / "splits.csv")}
    corpus = {**base.corpus.model_dump(), "files": files_given}

    def with_budget(size: object) -> Parameters:
        storage = {**base.storage.model_dump(), "max_total_size": size}
        return small_parameters(small, corpus=corpus, storage=storage, study={"name": "wide", "trials": 1})

    with pytest.raises(OutOfStorageError, match=r"max_total_size=(\d+)") as refused:
        run(with_budget("8MB"))
    match = re.search(r"max_total_size=(\d+)", str(refused.value))
    assert match is not None
    least = int(match.group(1))
    with pytest.raises(OutOfStorageError):
        run(with_budget(least - 1))
    enough = with_budget(least)
    run(enough)
    evaluate(enough)
    assert parts(enough)[2].held_bytes() <= least


def test_a_trial_whose_journal_is_gone_starts_anew(small: Path) -> None:
    """As the message about a damaged journal says; its checkpoints are set aside."""
    parameters = small_parameters(small, study={"name": "small", "trials": 1})
    whole = small_parameters(small, study={"name": "whole", "trials": 1})
    run(whole)
    corpora, study, store = parts(parameters)
    corpus = ingest(parameters.corpus, corpora, lambda line: None)
    search = run_search(parameters, corpus, study, store)
    store.save(next(search))
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(InterruptedRunError):
        next(search)
    next(study.folder.glob("trials/*/metrics.jsonl")).rename(small / "moved")
    run(parameters)
    assert list(study.folder.glob("trials/*/checkpoints/quarantine-*"))
    assert facts(parameters)["best"] == facts(whole)["best"]


def test_derived_files_are_verified(small: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Damaged tokens are made again; an altered test split is not evaluated."""
    parameters = small_parameters(small, study={"name": "small", "trials": 1})
    assert in_child(parameters, None) == 0
    for rows in (small / "tokens").glob("tokens_train_*/rows_*.arrow"):
        content = bytearray(rows.read_bytes())
        content[len(content) // 2] ^= 1
        rows.write_bytes(bytes(content))
    other = small_parameters(small, study={"name": "other", "trials": 1})
    assert in_child(other, None) == 0
    assert facts(other)["best"] == facts(parameters)["best"]
    (test,) = (small / "corpora").glob("corpus_*/test.jsonl")
    test.write_text(test.read_text(encoding="utf-8").replace("I ", "We ", 1), encoding="utf-8")
    with pytest.raises(DataError, match="not what ingest wrote"):
        evaluate(parameters)


def test_a_study_whose_folder_is_gone_is_not_begun_anew(small: Path) -> None:
    """Optuna knows it, the marker stands: said with the way out."""
    import shutil

    parameters = small_parameters(small, study={"name": "small", "trials": 1})
    run(parameters)
    _, study, _ = parts(parameters)
    shutil.rmtree(study.folder)
    with pytest.raises(StudyError, match="its folder is gone") as caught:
        run(parameters)
    assert "study delete small" in str(caught.value)


def test_ties_are_evaluated_where_they_are_left_and_listed_where_not(small: Path) -> None:
    """Nothing is learnt, so all epochs of all trials tie: the first is the best, one co-best is kept beside
    it and evaluated, the others are listed as not kept; Optuna and the store agree on the best."""
    parameters = small_parameters(
        small,
        training={**small_parameters(small).training.model_dump(), "learning_rate": 1e-30},
        search={"space": {}},
        study={"name": "ties", "trials": 2},
    )
    run(parameters)
    listed = evaluate(parameters)["checkpoints"]
    assert [(row["trial"], row["epoch"], row["kept"]) for row in listed] == [
        (0, 1, True), (0, 2, True), (1, 1, False), (1, 2, False),
    ]  # fmt: skip
    assert listed[0]["test_metrics"] == listed[1]["test_metrics"]
    assert all(row["sha256"] is None and "test_metrics" not in row for row in listed[2:])
    best = OptunaStudy.open(parts(parameters)[1], parameters).best()
    assert best is not None
    assert best.number == 0


def spoil_best(folder: Path, checkpoint: str, name: str) -> None:
    """Flip a bit of a file of a checkpoint, in a study that is to be evaluated again."""
    (folder / "evaluation.json").unlink()
    damaged = folder / checkpoint / name
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)


def test_a_damaged_best_is_trained_again_though_another_epoch_ties(
    small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its trial's next epoch has the same value and other weights: it is evaluated beside the best, never in
    its place, whichever file of the best is damaged. Without a journal that is refused."""
    parameters = small_parameters(
        small,
        training={**small_parameters(small).training.model_dump(), "learning_rate": 1e-7},
        search={"space": {}},
        study={"name": "ties", "trials": 1},
    )
    run(parameters)
    before = evaluate(parameters)
    best, tie = before["checkpoints"]
    assert [(row["trial"], row["epoch"], row["kept"]) for row in (best, tie)] == [(0, 1, True), (0, 2, True)]
    assert best["sha256"] != tie["sha256"]
    folder = parts(parameters)[1].folder
    for name in (MODEL, MANIFEST):
        caplog.clear()
        spoil_best(folder, best["path"], name)
        after = evaluate(parameters)
        assert "the study's best (trial 0, epoch 1) is left: the trial is retrained" in caplog.text
        assert after["checkpoints"] == before["checkpoints"]
        assert after["test_metrics"] == before["test_metrics"]
        assert after["evaluations"][-1]["epoch"] == 1
    assert len(list(folder.glob("trials/*/checkpoints/quarantine-epoch_0001*"))) == 2
    spoil_best(folder, best["path"], MODEL)
    next(folder.glob("trials/*/metrics.jsonl")).unlink()
    with pytest.raises(StudyError, match="its journal does not say which epoch"):
        evaluate(parameters)


def test_metrics_alone_count_against_the_budget_too(small: Path) -> None:
    """Without checkpoints nothing can be deleted: the study stops before it writes past the budget, however
    late MLflow's database, which alone takes more, is made."""
    parameters = small_parameters(
        small,
        storage={"root": str(small / "models"), "checkpointing": False, "max_total_size": "1MB"},
    )
    with pytest.raises(OutOfStorageError, match="the budget has no room for the next write"):
        run(parameters)


def test_what_the_last_trial_left_is_tidied_by_the_next_run(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the last trial's end in Optuna and its tidying: only the best is kept afterwards."""
    parameters = small_parameters(small, storage={"keep_best_k_max": 1})
    with monkeypatch.context() as patched:
        patched.setattr(Trials, "finish", lambda trials, number: None)
        patched.setattr(Trials, "finish_all", lambda trials: None)
        run(parameters)
    store = parts(parameters)[2]
    best = store.best()
    assert best is not None
    assert len(store.entries()) > 1
    run(parameters)
    assert [entry.path for entry in store.entries()] == [best.path]


def test_train_is_a_study_of_one_trial(small: Path) -> None:
    """`train` has its own name, one trial, and no search space."""
    single = as_single_trial(small_parameters(small))
    assert (single.study.name, single.study.trials, single.search.space) == ("small-train", 1, {})
    heads = small_parameters(small, model={"fine_tuning": "heads"})
    run(as_single_trial(heads))


def test_a_study_is_deleted_by_a_person_only(small: Path) -> None:
    """First a dry run; then folder, Optuna's study and, where asked for, MLflow's runs."""
    parameters = small_parameters(small, study={"name": "gone", "trials": 1})
    run(parameters)
    _, study, _ = parts(parameters)
    assert "would delete" in studies.delete_study(parameters, "gone", really=False, tracking=True)
    assert study.folder.exists()
    assert "deleted" in studies.delete_study(parameters, "gone", really=True, tracking=True)
    assert not study.folder.exists()
    assert studies.list_studies(parameters) == []
