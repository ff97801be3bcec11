"""What a command imports: one that only reads pays for no training."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.conftest import write_small_tables

from thriftune.corpus.ingestion import ingest
from thriftune.corpus.reference import CorpusReference
from thriftune.corpus.store import CorpusStore
from thriftune.databases.sqlite import close_databases
from thriftune.project.parameters import load_parameters
from thriftune.search.optuna_study import OptunaStudy
from thriftune.study.handle import StudyHandle
from thriftune.study.identity import StudyIdentity
from thriftune.study.layout import JOURNAL, trial_folder
from thriftune.study.opening import open_or_create
from thriftune.study.trials import TrialEnd
from thriftune.tracking.journal import Journal
from thriftune.training.inputs import encoder_for

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]
TRAINING = {"torch", "mlflow", "transformers", "datasets", "peft", "pandas", "sklearn", "rfc3987_syntax"}
DATABASES = {"optuna", "sqlalchemy"}
COMMAND = """
import sys
from thriftune.cli import main
heavy, sys.argv = sys.argv[1].split(","), ["thriftune", *sys.argv[2:]]
try:
    main()
finally:
    print("imported", *sorted(sys.modules.keys() & set(heavy)), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a corpus, a tokenizer, and a study of one trial, as a search leaves them."""
    root = tmp_path_factory.mktemp("startup")
    shutil.copytree(ROOT / "conf", root / "conf")
    shutil.copy(ROOT / "pyproject.toml", root)
    write_small_tables(root)
    tables = {"posts": str(root / "posts.csv"), "annotations": str(root / "annotations.csv")}
    places = {"root": str(root / "corpora"), "cache": str(root / "tokens")}
    (root / "conf/local").mkdir(exist_ok=True)
    (root / "conf/local/parameters.yml").write_text(
        yaml.safe_dump({"corpus": {"source": "files", "files": tables, **places}}), encoding="utf-8"
    )
    settings = load_parameters(root)
    corpus = ingest(settings.corpus, CorpusStore(Path(settings.corpus.root)), lambda line: None)
    encoder_for(settings, corpus)
    study = StudyHandle.from_parameters(settings, settings.study.name)
    identity = StudyIdentity(threads=1, device="cpu", data_fingerprint="0" * 64)
    open_or_create(study.folder, study.id, settings, identity, CorpusReference(fingerprint="0" * 64))
    trials = OptunaStudy.open(study, settings)
    trial = trials.next_trial(settings.study.trials)
    assert trial is not None
    journal = Journal(trial_folder(study.folder, trial.number, trial.trial_id) / JOURNAL)
    journal.log({"validation/joint.f1_micro": 0.5}, 1)
    journal.close()
    trials.tell(trial, TrialEnd("complete", 0.5))
    close_databases()
    return root


def python(folder: Path, program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter in a folder; output as text, never raises."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "heavy", "shown"),
    [
        ("--help", TRAINING | DATABASES, "Commands:"),
        ("schema trial", TRAINING | DATABASES, '"type": "object"'),
        ("storage status", TRAINING | DATABASES, "sample"),
        ("study list", TRAINING, "1/6"),
        ("storage forecast", TRAINING - {"torch"} | {"optuna", "torch._dynamo"}, "will be held"),
        ("study show sample", TRAINING, "1 of 6 trials have ended (1 complete)"),
    ],
)
def test_a_command_that_reads_imports_nothing_heavy(
    project: Path, words: str, heavy: set[str], shown: str
) -> None:
    """Neither what trains nor MLflow, torch only for a model's shape, and the databases only where trials are
    shown; none is left open. A command may be given in any folder of the project.
    """
    done = python(project / "conf", COMMAND, ",".join(heavy), *words.split())
    assert shown in done.stdout, done.stderr
    assert done.stderr.splitlines()[-1] == "imported", done.stderr
    assert not list((project / "data/tracking").glob("*-wal"))
