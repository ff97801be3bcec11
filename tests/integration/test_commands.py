"""The whole command and what a user asks about afterwards."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from tests import processes
from tests.integration.conftest import ROOT, SMALL, Run, environment, python
from tests.integration.servers import BIN, free_port, process

pytestmark = pytest.mark.integration
KERNEL = "kedro_thriftune"
CONF = ["aggressive", "base", "local", "logging.yml", "redsm5"]


@pytest.fixture
def jupyter(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jupyter with folders of its own, in an activated environment with the project's code."""
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(project / ".jupyter" / name))
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(project / "src"))


def outputs_of(notebook: Path) -> dict[str, list[dict[str, Any]]]:
    """What each cell showed, by its id, when all were run in the kernel of `kedro jupyter`, in the notebook's
    own folder as Jupyter does."""
    book = nbformat.read(notebook, as_version=4)
    NotebookClient(book, kernel_name=KERNEL, resources={"metadata": {"path": str(notebook.parent)}}).execute()
    return {
        cell.id: [output.get("data", {"text/plain": output.get("text")}) for output in cell.outputs]
        for cell in book.cells
        if cell.cell_type == "code"
    }


@pytest.mark.usefixtures("jupyter")
def test_the_main_job_and_the_commands_after_it(project: Path, run: Run) -> None:
    """`kedro run` to its report, then every command on what it left, and the notebook."""
    shutil.rmtree(project / "data")  # MLflow's tables are made here, by a run that is started as a user does
    done = run("kedro", "run", "--params", SMALL, real=True)
    assert done.returncode == 0, done.stderr
    assert not (project / "mlruns").exists()
    assert not list((project / "data/tracking").glob("*-wal")), "a database was left open"
    listed = json.loads(run("thriftune", "study", "list", "--json").stdout)
    assert [(row["name"], row["trials"], row["evaluated"]) for row in listed] == [("small", "2/2", True)]
    shown = json.loads(run("thriftune", "study", "show", "small", "--json").stdout)
    assert [row["state"] for row in shown["trials"]] == ["complete", "complete"]
    assert (shown["overhead"]["trials"], shown["states"]["complete"]) == ([0, 1], 2)
    lines = run("thriftune", "study", "show", "small", "--all").stdout.splitlines()
    assert "2 of 2 trials have ended (2 complete)" in lines[0]
    assert "small" in run("thriftune", "study", "list").stdout
    assert "small" in run("thriftune", "storage", "status").stdout
    assert "thriftune" in run("kedro", "thriftune", "doctor").stdout
    row = json.loads(run("thriftune", "storage", "forecast", "--trials", "9", "--json").stdout)
    assert row["most_bytes"] < row["written_bytes"] < row["keep_all_bytes"]
    assert row["least_budget_bytes"] > row["fixed_bytes"] + 9 * row["bytes_per_trial"]
    assert run("thriftune", "storage", "verify").returncode == 0
    assert "nothing to clean" in run("thriftune", "storage", "clean").stdout
    wrong = run("thriftune", "storage", "forecast", "--model-size", "10XB")
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (2, False)
    for name in ("evaluation", "trial", "manifest", "parameters"):
        assert json.loads(run("thriftune", "schema", name).stdout)["type"] == "object"
    refused = run("thriftune", "study", "show", "smal")
    assert refused.returncode == 2
    assert "did you mean 'small'" in refused.stderr
    again = run("kedro", "run", "--params", SMALL)
    assert again.returncode == 0
    assert "nothing to do" in again.stderr
    assert "test split is not read again" in again.stderr
    second = run("kedro", "run", "--pipeline", "evaluate", "--params", "study.name=small")
    assert second.returncode == 2
    assert "evaluation.force=true" in second.stderr
    (project / "conf/local/parameters.yml").write_text("study: {name: small}\n", encoding="utf-8")
    shutil.copytree(ROOT / "notebooks", project / "notebooks")
    assert run("kedro", "jupyter", "setup").returncode == 0
    shown_by = outputs_of(project / "notebooks/open_a_study.ipynb")
    tables = {cell for cell, outputs in shown_by.items() if "<table" in str(outputs)}
    pictures = {cell for cell, outputs in shown_by.items() if any("image/png" in each for each in outputs)}
    assert (tables, pictures) == ({"trials", "kept"}, {"curves", "bytes", "test"})
    assert f"2 of 2 trials have ended; {project}/data/06_models/study_small-" in str(shown_by["trials"])
    assert "the study's best" in str(shown_by["kept"])
    with sqlite3.connect(project / "data/tracking/mlflow.db") as database:
        sent = database.execute("select count(*) from metrics").fetchone()[0]
        database.execute("delete from metrics")
        database.execute("delete from latest_metrics")
    database.close()
    for path in project.glob("data/06_models/**/tracking.json"):
        path.unlink()
    flushed = run("thriftune", "tracking", "flush")
    assert "rows sent" in flushed.stdout, flushed.stderr
    with sqlite3.connect(project / "data/tracking/mlflow.db") as database:
        assert database.execute("select count(*) from metrics").fetchone()[0] == sent
    database.close()
    assert "would delete" in run("thriftune", "study", "delete", "small").stdout
    assert list((project / "data/06_models").glob("study_*"))
    run("thriftune", "study", "delete", "small", "--yes", "--tracking")
    assert not list((project / "data/06_models").glob("study_*"))


def test_a_forecast_needs_no_corpus_and_is_exact_with_one(project: Path, run: Run) -> None:
    """In a fresh clone it answers from the configuration and says what was assumed. It is no less than with
    the ingested corpus; it may be more, since a tokenizer can turn out smaller than it is allowed to be."""
    shutil.rmtree(project / "data")
    done = run("thriftune", "storage", "forecast", "--json")
    assert done.returncode == 0, done.stderr
    assert "no corpus has been ingested yet; assumed" in done.stderr
    assert not (project / "data").exists()
    assert run("kedro", "run", "--pipelines", "ingest").returncode == 0
    exact = run("thriftune", "storage", "forecast", "--json")
    assert exact.stderr == ""
    assumed, known = json.loads(done.stdout), json.loads(exact.stdout)
    for key in ("most_bytes", "least_budget_bytes", "written_bytes", "keep_all_bytes"):
        assert known[key] <= assumed[key] <= 3 * known[key]


def test_a_damaged_study_hides_no_other_and_can_be_deleted(project: Path, run: Run) -> None:
    """It is a row that says so in every list, the rows of the others are sent, and delete needs no record."""
    for name in ("first", "second"):
        params = SMALL.replace("study.name=small", f"study.name={name}")
        assert run("kedro", "run", "--pipelines", "train", "--params", params).returncode == 0
    (record,) = project.glob("data/06_models/study_first-train-*/study.json")
    record.write_text(
        record.read_text(encoding="utf-8").replace('"trials": 1', '"trials": 7'), encoding="utf-8"
    )
    for path in project.glob("data/06_models/**/tracking.json"):
        path.unlink()
    listed = json.loads(run("thriftune", "study", "list", "--json").stdout)
    assert [(row["name"], row["trials"]) for row in listed] == [("second-train", "1/1"), ("first-train", "?")]
    assert "checksum" in listed[1]["problem"]
    assert "study first-train is damaged" in run("thriftune", "study", "list").stdout
    held = json.loads(run("thriftune", "storage", "status", "--json").stdout)
    assert [row["study"] for row in held] == ["second-train", "first-train"]
    assert held[1]["other_bytes"] > 0
    assert "did you mean" in run("thriftune", "study", "show", "second-trai").stderr
    shown = run("thriftune", "study", "show", "first-train")
    assert (shown.returncode, "thriftune study delete" in shown.stderr) == (1, True)
    flushed = run("thriftune", "tracking", "flush")
    assert (flushed.returncode, "checksum" in flushed.stderr) == (1, True)
    assert len(list(project.glob("data/06_models/study_second-*/**/tracking.json"))) == 1
    refused = run("thriftune", "tracking", "rebuild", "--yes")
    assert (refused.returncode, list(project.glob("data/tracking/*.old-*"))) == (1, [])
    deleted = run("thriftune", "study", "delete", "first-train", "--yes")
    assert deleted.returncode == 0, deleted.stderr
    assert [row["name"] for row in json.loads(run("thriftune", "study", "list", "--json").stdout)] == [
        "second-train"
    ]


def test_each_pipeline_works_alone(project: Path, run: Run) -> None:
    """ingest writes a corpus, train a study of one trial; neither reads the test split, nor needs a space to
    search. Kedro's own notice that an option will go is shown. Any folder of the project will do to start in.
    """
    (project / "conf/local/parameters.yml").write_text("search: {space: {}}\n", encoding="utf-8")
    words = [str(BIN / "kedro"), "run", "--pipeline", "ingest", "--params", SMALL]
    done = processes.run(words, project / "conf", environment(project))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (project / "conf").iterdir()) == CONF
    assert done.stderr.count("Option '--pipeline' is deprecated") == 1
    assert ".py" not in done.stderr
    assert not (project / "data/06_models").exists()
    nodes = ("--pipelines", "ingest,train", "--nodes", "ingest,train")
    done = run("kedro", "run", *nodes, "--params", SMALL)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    studies = [path.name for path in (project / "data/06_models").glob("study_*")]
    assert len(studies) == 1
    assert studies[0].startswith("study_small-train-")
    assert not list(project.glob("data/05_model_input/tokens_test_*"))


INTO_A_FULL_FILE = """
import os, sys
os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
if sys.argv[1] == "kedro":
    from kedro.framework.cli import main
else:
    from thriftune.cli import main
del sys.argv[0]
main()
"""


@pytest.mark.parametrize("program", [["thriftune"], ["kedro", "thriftune"]], ids=" ".join)
def test_a_failing_command_says_why_in_one_message(program: list[str], project: Path, run: Run) -> None:
    """The mistake's exit code and no traceback, by either program; secrets of the user's own are masked, and
    a full disk is reported with what fills it."""
    for words, text in (
        ("study list --params training.epoch=1", "did you mean 'training.epochs'"),
        ("study show mine", "there is no study 'mine'"),
        ("study show hunter2secret --params observe.redact=hunter2secret", "there is no study '[redacted]'"),
    ):
        done = run(*program, *words.split())
        assert (done.returncode, text in done.stderr) == (2, True), done.stderr
        assert "Traceback" not in done.stderr
        assert "hunter2secret" not in done.stdout + done.stderr
    full = python(project, INTO_A_FULL_FILE, *program, "storage", "status", "--json")
    assert (full.returncode, "Largest files" in full.stderr) == (3, True), full.stderr


@pytest.mark.usefixtures("jupyter")
def test_kedro_s_own_tools_load_the_project(project: Path, run: Run) -> None:
    """Kedro-Viz builds its pages (it runs no hooks), the catalog is listed; IPython has catalog and session,
    and Jupyter's server answers with the project's kernel as its own."""
    built = run("kedro", "viz", "build")
    assert built.returncode == 0, built.stderr
    assert (project / "build" / "index.html").exists()
    nodes = (project / "build" / "api" / "main").read_text(encoding="utf-8")
    assert "checkpoint_store" in nodes
    listed = run("kedro", "catalog", "describe-datasets")
    assert "CheckpointDataset" in listed.stdout, listed.stderr
    port = free_port()
    words = (
        "jupyter",
        "notebook",
        "--no-browser",
        "--allow-root",
        "--IdentityProvider.token=",
        f"--port={port}",
    )
    with process(project, "jupyter", "kedro", *words) as server:
        spoken = subprocess.run(
            [str(BIN / "kedro"), "ipython", "--simple-prompt"],
            cwd=project,
            input="print(type(session).__name__, 'checkpoint_store' in catalog.keys())\n",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "KedroSession True" in spoken.stdout, spoken.stdout + spoken.stderr
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/kernelspecs") as answer:
                    assert json.load(answer)["default"] == KERNEL
                    break
            except OSError:
                assert server.poll() is None, (project / "jupyter.log").read_text(encoding="utf-8")
                assert time.monotonic() < deadline
                time.sleep(0.2)


FIRST_NODE = """
import os, sys
from kedro.pipeline.node import Node
def run(node, *words, **more):
    heavy = {"torch", "sklearn", "transformers", "datasets", "peft"}
    print("loaded", *sorted(sys.modules.keys() & heavy), flush=True)
    os._exit(0)
Node.run = run
sys.argv = ["kedro", "run", "--pipelines", "hpo"]
from kedro.framework.cli import main
main()
"""


def test_nothing_heavy_is_imported_before_the_first_node(project: Path) -> None:
    """All checks of the parameters included: `kedro run` starts as quickly as an empty project."""
    done = python(project, FIRST_NODE, real=True)  # a forked one has it all
    assert done.stdout.splitlines()[-1] == "loaded", done.stdout + done.stderr
