"""What a container of the project's image is told about its mounts, folders and devices."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from thriftune.cli.run import check_parameters, parameters_of
from thriftune.config import Parameters
from thriftune.container import mount_points, owner_advice, require_mounts, unmounted
from thriftune.errors import ConfigError
from thriftune.maintenance.doctor import doctor_rows
from thriftune.training.seeding import no_gpu, resolve_device, warn_of_cpu

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PROJECT = Path("/nowhere/project")
ROOTS = ("data/03_primary", "data/06_models", "logs", "/big/models")
on_its_own_layer = pytest.mark.skipif(
    any(part in mount_points() for part in Path(__file__).parents), reason="the checkout is on a mount"
)


@pytest.fixture
def _in_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THRIFTUNE_IMAGE", "1")


@pytest.mark.parametrize(
    ("mounts", "lost"),
    [
        ((), ("data", "logs", "/big/models")),
        (("/nowhere/project/data",), ("logs", "/big/models")),
        (("/nowhere/project/data/06_models", "/nowhere/project/logs", "/big"), ("data",)),
        (("/nowhere/project", "/big/models"), ()),
    ],
)
def test_what_is_on_no_mount_is_lost(mounts: tuple[str, ...], lost: tuple[str, ...]) -> None:
    """A mount at a folder, or above it, keeps it."""
    assert unmounted(PROJECT, ROOTS, [Path(place) for place in mounts]) == tuple(
        PROJECT / name for name in lost
    )


def test_mount_points_are_those_of_the_machine() -> None:
    """But for the root, below which everything is."""
    assert Path("/proc") in mount_points()
    assert Path("/") not in mount_points()


@pytest.mark.usefixtures("_in_image")
def test_a_missing_mount_is_told_with_the_flags() -> None:
    """Those to keep what a run leaves, and those to lose it on purpose."""
    with pytest.raises(ConfigError) as caught:
        require_mounts(PROJECT, ROOTS)
    assert "not mounted: /nowhere/project/data, /nowhere/project/logs, /big/models;" in str(caught.value)
    assert '-v "$PWD/data:/nowhere/project/data" -v "$PWD/logs:/nowhere/project/logs"' in str(caught.value)
    assert "-v FOLDER:/big/models" in str(caught.value)
    assert "on purpose: -v /nowhere/project/data -v" in str(caught.value)


@on_its_own_layer
def test_a_run_without_its_mounts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the image alone: elsewhere a container may be all that somebody has."""
    monkeypatch.chdir(ROOT)
    check_parameters({}, parameters_of({}))
    monkeypatch.setenv("THRIFTUNE_IMAGE", "1")
    with pytest.raises(ConfigError, match=f"not mounted: {ROOT}/data, {ROOT}/logs"):
        check_parameters({}, parameters_of({}))


@on_its_own_layer
def test_the_doctor_looks_at_mounts_in_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what a run would say, and ends as ever."""
    assert "mounts" not in doctor_rows(Parameters().at(ROOT))
    monkeypatch.setenv("THRIFTUNE_IMAGE", "1")
    assert "add to `docker run`: -v" in doctor_rows(Parameters().at(ROOT))["mounts"]


@pytest.mark.usefixtures("_in_image")
def test_whose_folder_it_is_and_how_to_be_them(tmp_path: Path) -> None:
    """The ids are those of the folder, as the host knows them."""
    assert f"runs as user {os.getuid()}" in owner_advice(tmp_path)
    assert f"--user {tmp_path.stat().st_uid}:{tmp_path.stat().st_gid}" in owner_advice(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_told_with_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA build lacks the flag, a CPU build lacks another image; outside the image neither helps."""
    for cuda, advice in ((None, "docs/container.md"), ("13.0", "docker run --gpus all")):
        monkeypatch.setattr(torch.version, "cuda", cuda)
        assert advice not in no_gpu()
        with monkeypatch.context() as image:
            image.setenv("THRIFTUNE_IMAGE", "1")
            with pytest.raises(ConfigError, match=advice):
                resolve_device("cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_image_with_cuda_does_not_take_the_cpu_in_silence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A CPU build, a machine of one's own, and `cpu` by name were meant so."""
    for cuda, image, name, told in (
        (None, True, "auto", 0),
        ("13.0", False, "auto", 0),
        ("13.0", True, "cpu", 0),
        ("13.0", True, "auto", 1),
    ):
        monkeypatch.setattr(torch.version, "cuda", cuda)
        with monkeypatch.context() as environment:
            if image:
                environment.setenv("THRIFTUNE_IMAGE", "1")
            warn_of_cpu(name)
        assert caplog.text.count("docker run --gpus all") == told


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_told_before_ingest(monkeypatch: pytest.MonkeyPatch) -> None:
    """As all that the configuration alone shows to be wrong."""
    monkeypatch.chdir(ROOT)
    options = {"params": {"training": {"device": "cuda"}}}
    run = parameters_of(options)
    with pytest.raises(ConfigError, match=r"training\.device"):
        check_parameters(options, run)
