"""The project in a container, with a real Docker engine: `kedro docker build`, `run` and `cmd`.

THRIFTUNE_BASE_IMAGE is the image to build on, THRIFTUNE_BUILD_ARGS what `docker build` gets beside it
(`--network=host`, say).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from tests import hub_content
from tests.conftest import write_small_tables
from tests.hub_server import HubServer
from tests.integration.conftest import ROOT, SMALL, copy_project
from tests.integration.outcome import outcome

from thriftune.config import parse_bytes

ENGINE = shutil.which("docker") and subprocess.run(["docker", "version"], capture_output=True).returncode == 0
pytestmark = [
    pytest.mark.integration,
    pytest.mark.docker,
    pytest.mark.skipif(not ENGINE, reason="no Docker engine answers `docker version`"),
    pytest.mark.timeout(1800),  # the first build installs everything
]

IMAGE = "thriftune-test"
LOCK = ("requirements.txt", "requirements-torch.txt")
BASE_IMAGE = os.environ.get("THRIFTUNE_BASE_IMAGE", "python:3.11-slim")
BUILD_ARGS = os.environ.get("THRIFTUNE_BUILD_ARGS", "")
# The image knows no root: where root runs the tests, what they mount is somebody else's.
OWNER = os.getuid() or 1234
RUN = ("--pipeline", "hpo", "--params", SMALL.replace("=posts", "=data/posts").replace("=anno", "=data/anno"))
LOCKED_DOWN = ("--read-only", "--tmpfs", "/tmp", "--network", "none", "--memory", "1500m")
SECRET = "hf_nobodyMayReadThisOne0123456789"
NOT_FOR_IMAGES = (".env", ".git", "conf/local/", "conf/redsm5/credentials", "data/", "logs/", "tests/")


def make_project(parent: Path) -> Path:
    """A copy with all that a build takes, tables below data, and secrets where users have them."""
    project = copy_project(parent)
    for name in ("Dockerfile", ".dockerignore", *LOCK, "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    for folder in ("data", "logs"):
        (project / folder).mkdir()
        os.chown(project / folder, OWNER, -1)
    write_small_tables(project / "data")
    for secret in (".env", "conf/local/credentials.yml", "conf/redsm5/credentials.yml"):
        (project / secret).write_text(f"token: {SECRET}\n", encoding="utf-8")
    (project / "conf/local/credentials.yml").chmod(0o644)
    return project


def kedro_docker(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`kedro docker ...` to its end; output as text, never raises."""
    with started(project, *words) as process:
        output, _ = process.communicate()
    return subprocess.CompletedProcess(words, process.returncode, output)


@contextmanager
def started(project: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`kedro docker ...`, its output to be read line by line."""
    with subprocess.Popen(
        [sys.executable, "-m", "kedro", "docker", *words],
        cwd=project,
        env={**os.environ, "DO_NOT_TRACK": "1", "PYTHONPATH": str(project / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield process


def docker(*words: str) -> subprocess.CompletedProcess[str]:
    """`docker ...`, errors among its output."""
    return subprocess.run(
        ["docker", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def build(project: Path) -> float:
    """Build the image as a user does; seconds."""
    begun = time.monotonic()
    built = kedro_docker(
        project,
        "build",
        f"--image={IMAGE}",
        f"--base-image={BASE_IMAGE}",
        f"--uid={OWNER}",
        f"--gid={os.getgid() or OWNER}",
        f"--docker-args={BUILD_ARGS}",
    )
    assert built.returncode == 0, built.stdout
    return time.monotonic() - begun


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project that the image was built of."""
    project = make_project(tmp_path_factory.mktemp("built"))
    with FileLock(tmp_path_factory.getbasetemp().parent / "image.lock"):  # one worker builds, others find it
        build(project)
    return project


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, built: Path) -> tuple[Path, list[float]]:
    """A study that nobody disturbed, and when each line of its output came, in seconds from the start."""
    project = make_project(tmp_path_factory.mktemp("finished"))
    begun = time.monotonic()
    with started(project, "run", f"--image={IMAGE}", *RUN) as process:
        assert process.stdout is not None
        lines = [(time.monotonic() - begun, line) for line in process.stdout]
    assert process.returncode == 0, "".join(line for _, line in lines)
    return project, [at for at, line in lines if "ingest: corpus" in line]


def test_a_run_leaves_the_callers_files_outside(finished: tuple[Path, list[float]]) -> None:
    """And its first node is over 30 s after `kedro docker run` at the latest."""
    project, ingested = finished
    assert outcome(project)["page"]
    assert list((project / "logs").glob("*.jsonl"))
    left = [path for name in ("data", "logs") for path in (project / name).rglob("*")]
    tables = set((project / "data").glob("*.csv"))
    assert {path.stat().st_uid for path in left if path not in tables} == {OWNER}
    others = {path for path in project.iterdir() if path.name not in ("data", "logs")}
    assert {path.stat().st_uid for path in others} == {os.getuid()}, "Docker made a mounted folder"
    assert ingested[0] < 30


def test_cmd_shows_the_study(finished: tuple[Path, list[float]]) -> None:
    """`kedro docker cmd` runs any of our commands on what is mounted."""
    shown = kedro_docker(
        finished[0], "cmd", f"--image={IMAGE}", "thriftune", "study", "show", "small", "--json"
    )
    assert shown.returncode == 0, shown.stdout
    assert len(json.loads(shown.stdout[shown.stdout.index("{") :])["trials"]) == 2


def test_killed_it_goes_on_locked_down(finished: tuple[Path, list[float]], tmp_path: Path) -> None:
    """Root file system read-only, no network, little memory; killed, the same command has the same result."""
    project = make_project(tmp_path)
    arguments = f"--name={IMAGE}-killed {' '.join(LOCKED_DOWN)}"
    command = ("run", f"--image={IMAGE}", f"--docker-args={arguments}", *RUN)
    with started(project, *command) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "epoch 1 of 2" in line:
                assert docker("kill", f"{IMAGE}-killed").returncode == 0
                break
        process.communicate()
    assert process.returncode != 0
    assert not list(project.glob("data/06_models/*/evaluation.json"))
    again = kedro_docker(project, *command)
    assert again.returncode == 0, again.stdout
    assert "Read-only file system" not in again.stdout
    assert outcome(project) == outcome(finished[0])


@pytest.mark.usefixtures("built")
def test_missing_mounts_are_told(tmp_path: Path) -> None:
    """A run is refused with what to type; the doctor says so too."""
    refused = docker("run", "--rm", IMAGE)
    assert refused.returncode == 2, refused.stdout
    assert '-v "$PWD/data:/home/kedro_docker/data"' in refused.stdout
    unmounted = docker("run", "--rm", IMAGE, "thriftune", "doctor", "--json")
    assert json.loads(unmounted.stdout)["mounts"].startswith("not mounted")
    project = make_project(tmp_path)
    mounted = kedro_docker(project, "cmd", f"--image={IMAGE}", "thriftune", "doctor")
    assert "mounts" in mounted.stdout
    assert "not mounted" not in mounted.stdout


@pytest.mark.usefixtures("built")
def test_a_folder_of_another_user_is_told(tmp_path: Path) -> None:
    """With the ids to run as."""
    tmp_path.chmod(0o700)
    mounts = ("-v", f"{tmp_path}:/home/kedro_docker/data", "-v", "/home/kedro_docker/logs")
    refused = docker("run", "--rm", "--user", "4321", *mounts, IMAGE)
    assert refused.returncode == 2, refused.stdout
    assert f"--user {os.getuid()}" in refused.stdout


@pytest.mark.usefixtures("built")
def test_a_missing_gpu_is_told() -> None:
    """Before anything is ingested."""
    lost = ("-v", "/home/kedro_docker/data", "-v", "/home/kedro_docker/logs")
    refused = docker("run", "--rm", *lost, IMAGE, "kedro", "run", "--params", "training.device=cuda")
    assert refused.returncode == 2, refused.stdout
    assert "training.device: this torch is a CPU build; docs/container.md" in refused.stdout or (
        "docker run --gpus all" in refused.stdout
    )


@pytest.mark.usefixtures("built")
def test_the_memory_limit_is_seen() -> None:
    """The machine has more: what fits is judged by the container's limit."""
    seen = docker("run", "--rm", "--memory", "1500m", IMAGE, "thriftune", "doctor", "--json")
    assert parse_bytes(json.loads(seen.stdout)["memory free"]) <= 1500 * 2**20


@pytest.mark.usefixtures("built")
def test_without_internet_the_cache_below_data_does(tmp_path: Path) -> None:
    """What `thriftune fetch` downloaded is all that a container with no network needs."""
    project = make_project(tmp_path)
    content = hub_content.redsm5()
    texts = content["redsm5_posts.csv"].decode().splitlines()
    with HubServer() as server:
        server.repo("dataset", "irlab-udc/redsm5").commit(content)
        server.repo("model", "FacebookAI/roberta-base").commit(hub_content.roberta(texts))
        arguments = f"--docker-args=--network=host -e HF_ENDPOINT={server.url}"
        fetched = kedro_docker(
            project, "cmd", f"--image={IMAGE}", arguments, "thriftune", "fetch", "--env=redsm5"
        )
    assert fetched.returncode == 0, fetched.stdout
    assert list((project / "data/huggingface").rglob("*.safetensors"))
    arguments = "--docker-args=--network=none -e HF_HUB_OFFLINE=1"
    ingested = kedro_docker(
        project, "run", f"--image={IMAGE}", arguments, "--pipeline=ingest", "--env=redsm5"
    )
    assert ingested.returncode == 0, ingested.stdout


def test_changed_code_is_built_quickly(built: Path) -> None:
    """Nothing is installed again, and the change is in the image."""
    with (built / "src/thriftune/__init__.py").open("a", encoding="utf-8") as module:
        module.write("\nCHANGED = True\n")
    assert build(built) < 30
    changed = docker("run", "--rm", IMAGE, "python", "-c", "import thriftune; print(thriftune.CHANGED)")
    assert changed.stdout == "True\n"


@pytest.mark.usefixtures("built")
def test_no_layer_holds_a_secret(tmp_path: Path) -> None:
    """Nor does the history."""
    assert SECRET not in docker("history", "--no-trunc", IMAGE).stdout
    path = tmp_path / "image.tar"
    assert docker("save", "--output", str(path), IMAGE).returncode == 0
    with tarfile.open(path) as image:
        manifest = image.extractfile("manifest.json")
        assert manifest is not None
        (described,) = json.load(manifest)
        for layer in described["Layers"]:
            check_layer(image, layer)


def check_layer(image: tarfile.TarFile, member: str) -> None:
    """No file that is not for images, and no secret in a file of the project."""
    with tarfile.open(fileobj=image.extractfile(member)) as layer:
        for entry in layer:
            place = entry.name.removeprefix("home/kedro_docker/")
            if place != entry.name and entry.isfile():
                content = layer.extractfile(entry)
                assert content is not None
                assert SECRET.encode() not in content.read(), place
                assert not place.startswith(NOT_FOR_IMAGES), place
