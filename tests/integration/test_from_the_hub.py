"""The hub's data set and an encoder of the hub, from a hub on loopback: one command to a report."""

from __future__ import annotations

import csv
import io
import os
import shutil
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from tests import hub_content, processes
from tests.hub_server import HubServer

from thriftune import files

pytestmark = pytest.mark.integration
TOKEN = "hf_" + "Secret0" * 4
KEDRO = Path(sys.executable).parent / "kedro"
SHORT = "study.trials=1,training.epochs=1,training.max_length=128,training.threads=1"


def kedro(project: Path, server: HubServer, params: str = SHORT, **extra: str) -> tuple[int, str]:
    """(exit code, all output) of the main job in a machine that has nothing of the hub but its own cache."""
    return run(project, server, "run", "--pipeline=hpo", "--env=redsm5", "--params", params, **extra)


def run(
    project: Path, server: HubServer, *command: str, program: Path = KEDRO, **extra: str
) -> tuple[int, str]:
    """(exit code, all output)"""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        "PYTHONPATH": str(project / "src"),
        "HF_HOME": str(project.parent / "huggingface"),
        "HF_ENDPOINT": server.url,
        **extra,
    }
    done = processes.run([str(program), *command], project, environment)
    return done.returncode, done.stdout + done.stderr


def test_the_made_data_set_has_the_numbers_of_the_real_one() -> None:
    """Posts, rows, posts a label, posts without."""
    tables = {
        name: list(csv.DictReader(io.StringIO(data.decode())))
        for name, data in hub_content.redsm5().items()
        if name.endswith(".csv")
    }
    posts, rows = tables["redsm5_posts.csv"], tables["redsm5_annotations.csv"]
    met = {(row["DSM5_symptom"], row["post_id"]) for row in rows if row["status"] == "1"}
    assert len(posts) == 1484
    assert Counter(row["status"] for row in rows) == {"1": 1631, "0": 427}
    assert Counter(label for label, _ in met) == {**hub_content.POSTS_OF, "SPECIAL_CASE": 92}
    assert len({post["post_id"] for post in posts} - {row["post_id"] for row in rows}) == 7
    assert len(posts) - len({post for label, post in met if label != "SPECIAL_CASE"}) == 392


def test_one_command_from_the_hub_to_a_report(project: Path) -> None:
    """Refused without a token, whole with one, nothing asked the second time; the token is nowhere; a branch
    that moved is noticed."""
    data = hub_content.redsm5()
    with HubServer() as server:
        server.tokens.add(TOKEN)
        dataset = server.repo("dataset", "irlab-udc/redsm5", gated=True, readers={TOKEN})
        first = dataset.commit(data)
        texts = data["redsm5_posts.csv"].decode().splitlines()
        server.repo("model", "FacebookAI/roberta-base").commit(hub_content.roberta(texts))

        code, said = kedro(project, server)
        assert code == 4, said
        assert f"open {server.url}/datasets/irlab-udc/redsm5, sign in and accept its terms" in said
        assert "export HF_TOKEN=" in said
        assert "Traceback" not in said

        code, output = kedro(project, server, HF_TOKEN=TOKEN)
        assert code == 0, output
        (study,) = (project / "data/06_models").glob("study_*")
        assert (study / "report.html").exists()
        revision = files.read_json(study / "study.json")["data"]["revision"]
        assert (revision["id"], revision["revision"], revision["commit"]) == (
            "irlab-udc/redsm5",
            "main",
            first,
        )
        with closing(sqlite3.connect(project / "data/tracking/mlflow.db")) as database:
            logged = dict(database.execute("select key, value from params").fetchall())
        assert first in logged.values()

        server.requests.clear()
        code, output = kedro(project, server, HF_TOKEN=TOKEN)
        assert code == 0, output
        assert "is reused" in output
        assert server.requests == []

        for place in (project, project.parent / "huggingface"):
            left = [path for path in place.rglob("*") if path.is_file()]
            holding = [path for path in left if TOKEN.encode() in path.read_bytes()]
            assert holding == []
        assert TOKEN not in said + output

        changed = data["redsm5_posts.csv"] + b"post_9999,We walked to the garden.\n"
        second = dataset.commit(data | {"redsm5_posts.csv": changed})
        (project / "data/03_primary/revisions.json").unlink()
        code, output = kedro(project, server, HF_TOKEN=TOKEN)
        assert code == 2, output
        assert first in output
        assert second in output
        assert f"corpus.hub.revision={first}" in output
        code, output = kedro(project, server, f"{SHORT},corpus.hub.revision={first}", HF_TOKEN=TOKEN)
        assert code == 0, output
        assert "nothing to do" in output


def test_a_machine_without_internet_runs_what_another_one_has_fetched(project: Path) -> None:
    """`thriftune fetch` with an encoder that no catalogue names; its cache and record of commits are all that
    the other machine gets, and the hub is gone."""
    data = hub_content.redsm5()
    params = f"{SHORT},encoder=someone/an-encoder"
    other = project.parent / "cluster" / "project"
    shutil.copytree(project, other)
    with HubServer() as server:
        server.tokens.add(TOKEN)
        dataset = server.repo("dataset", "irlab-udc/redsm5", gated=True, readers={TOKEN})
        dataset.commit(data | {"README.md": b"terms", "another.csv": b"a,b\n" * 1000})
        texts = data["redsm5_posts.csv"].decode().splitlines()
        weights = hub_content.roberta(texts)
        server.repo("model", "someone/an-encoder").commit(weights | {"pytorch_model.bin": b"0" * 1000})
        options = ("fetch", "--env", "redsm5", "--params", params)
        code, said = run(project, server, *options, program=KEDRO.with_name("thriftune"), HF_TOKEN=TOKEN)
        assert code == 0, said
        asked = " ".join(map(str, server.requests))
        assert "model.safetensors" in asked
        assert not any(name in asked for name in ("another.csv", "pytorch_model.bin", "roberta-base"))

    code, said = kedro(other, server, params, HF_HUB_OFFLINE="1")
    assert code == 4, said
    assert "Traceback" not in said
    shutil.copytree(project.parent / "huggingface", other.parent / "huggingface", symlinks=True)
    (other / "data/03_primary").mkdir(parents=True, exist_ok=True)
    shutil.copy(project / "data/03_primary/revisions.json", other / "data/03_primary")
    code, said = kedro(other, server, params, HF_HUB_OFFLINE="1")
    assert code == 0, said
    (study,) = (other / "data/06_models").glob("study_*")
    assert (study / "report.html").exists()
