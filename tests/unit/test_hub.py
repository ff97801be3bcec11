"""The hub, against a server that speaks as it does: what is asked, how often, and what is said in the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from tests.hub_server import Fault, HubServer

from thriftune.errors import ConfigError, UnavailableError
from thriftune.hub import Hub, Repository, client

pytestmark = pytest.mark.unit
TOKEN = "hf_" + "a" * 20
FILES = {
    "config.json": b"{}",
    "model.safetensors": bytes(range(256)) * 8000,
    "pytorch_model.bin": b"pickled",
    "README.md": b"words",
}
MODEL = Repository("model", "owner/name", where="encoder")
WANTED = ("config.json", "*.safetensors")
LARGE = {"model.safetensors": bytes(range(256)) * 80_000}
BACKOFF = [1.0, 2.0, 4.0, 8.0, 16.0]


@pytest.fixture(autouse=True)
def _without_a_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as server:
        server.tokens.add(TOKEN)
        server.repo("model", "owner/name").commit(FILES)
        yield server


class Reached:
    """The hub with an injected clock, as one test reaches it."""

    def __init__(self, folder: Path, server: HubServer) -> None:
        self.waits: list[float] = []
        self.server = server
        self.hub = Hub(folder / "revisions.json", server.url, folder / "cache", self.waits.append)

    def fetch(self, repository: Repository = MODEL) -> dict[str, bytes]:
        """The files of a snapshot."""
        folder = self.hub.snapshot(repository, WANTED, needed=("config.json",)).folder
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    def asked(self, text: str) -> int:
        """Requests with a text in their path since the last call."""
        found = sum(text in request.path for request in self.server.requests)
        self.server.requests.clear()
        return found


@pytest.fixture
def reached(tmp_path: Path, server: HubServer) -> Reached:
    return Reached(tmp_path, server)


EXPECTED = {name: FILES[name] for name in ("config.json", "model.safetensors")}


def test_only_what_is_asked_for_comes_and_the_second_time_nothing_is_asked(reached: Reached) -> None:
    """No telemetry, no list of agents, no file beside the wanted ones; large files come without the token."""
    assert reached.fetch() == EXPECTED
    paths = [request.path for request in reached.server.requests]
    assert all("/owner/name/" in path for path in paths)
    assert not any("README" in path or ".bin" in path for path in paths)
    reached.server.requests.clear()
    assert reached.fetch() == EXPECTED
    assert reached.server.requests == []
    assert reached.waits == []


@pytest.mark.parametrize(
    ("fault", "waits"),
    [
        (Fault("/api/", status=503, times=2), [1.0, 2.0]),
        (Fault("/api/", status=500, times=1), [1.0]),
        (Fault("/resolve/.*config", "HEAD", status=502, times=5), BACKOFF),
        (Fault("/resolve/.*config", "GET", status=504, times=1), [1.0]),
        (Fault("/owner/name/.*safetensors.signature", "GET", status=500, times=3), [1.0, 2.0, 4.0]),
        (Fault("/api/", status=429, headers={"Retry-After": "7"}, times=4), [7.0, 7.0, 7.0, 8.0]),
        (Fault("/api/", status=429, headers={"RateLimit": '"api";r=0;t=33'}, times=1), [33.0]),
        (Fault("/api/", times=3), [1.0, 2.0, 4.0]),
        (Fault("/resolve/", "HEAD", times=1), [1.0]),
        (Fault("/owner/name/.*signature", "GET", cut_after=700_000), []),
        (Fault("/resolve/.*config", "GET", cut_after=1), []),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, Fault) else "",
)
def test_what_fails_for_now_is_asked_again_and_comes_whole(
    reached: Reached, fault: Fault, waits: list[float]
) -> None:
    """After 1, 2, 4, 8 and 16 s, or as long as the hub asks for."""
    reached.server.faults.append(fault)
    assert reached.fetch() == EXPECTED
    assert reached.waits == waits


def test_a_file_that_is_cut_goes_on_where_it_was(reached: Reached) -> None:
    """From the last of the client's pieces of 10 MiB."""
    reached.server.repos["model", "owner/name"].commit(FILES | LARGE)
    reached.server.faults.append(Fault("signature", "GET", cut_after=13_000_000))
    assert reached.fetch() == EXPECTED | LARGE
    assert [request.range for request in reached.server.requests if request.range] == ["bytes=10485760-"]


def test_a_date_to_wait_for_is_honoured_and_a_long_wait_is_left_to_the_user(reached: Reached) -> None:
    """Retry-After may be a date; more than five minutes end the run, which says how long."""
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    reached.server.faults.append(Fault("/api/", status=503, headers={"Retry-After": when}))
    assert reached.fetch() == EXPECTED
    assert len(reached.waits) == 1
    assert 80 < reached.waits[0] <= 90
    reached.server.repo("model", "owner/busy").commit(FILES)
    reached.server.faults.append(Fault("/api/", status=429, headers={"Retry-After": "4000"}))
    with pytest.raises(UnavailableError, match="asks to wait for 4000 s"):
        reached.fetch(Repository("model", "owner/busy"))
    assert len(reached.waits) == 1


def test_a_hub_that_hangs_is_given_ten_seconds(reached: Reached, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request without an answer counts as one that failed for now (here after half a second)."""
    monkeypatch.setattr(client, "TIMEOUT_SECONDS", 0.5)
    reached.server.faults.append(Fault("/api/", hang_seconds=2.0))
    assert reached.fetch() == EXPECTED
    assert reached.waits == [1.0]


def gone(server: HubServer) -> None:
    server.faults.append(Fault("", times=0))


REFUSALS = {
    "unknown": ("owner/nothing", None, [], ConfigError, "has no model owner/nothing"),
    "unknown, with a token": ("owner/nothing", TOKEN, [], ConfigError, "or it is private"),
    "revision": ("owner/name@v9", None, [], ConfigError, "no revision 'v9'"),
    "no name": ("not a name", None, [], ConfigError, "is not the name of a model"),
    "gated": ("owner/gated", None, [], UnavailableError, "accept its terms; then create a read token"),
    "gated, with a token": ("owner/gated", TOKEN, [], UnavailableError, "has not been given access"),
    "bad token": ("owner/name", "hf_bad", [], UnavailableError, "it is invalid or has expired"),
    "forbidden": ("owner/forbidden", TOKEN, [], UnavailableError, "may not read this repository"),
    "down": ("owner/down", None, BACKOFF, UnavailableError, "tried 6 times: it answered 503"),
    "closed": ("owner/closed", None, BACKOFF, UnavailableError, "hf download owner/closed"),
    "bare": ("owner/bare", None, [], ConfigError, "has no file 'config.json'"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_the_hub_refuses_is_asked_once_and_said(
    reached: Reached,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
) -> None:
    """One message with what it was about; a token that was sent does not appear in it."""
    name, token, waits, error, words = REFUSALS[case]
    name, _, revision = name.partition("@")
    repository = Repository("model", name, revision or "main", "encoder")
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    server = reached.server
    server.repo("model", "owner/gated", gated=True).commit({"config.json": b"{}"})
    for other in ("owner/down", "owner/closed", "owner/forbidden"):
        server.repo("model", other).commit(FILES)
    server.repo("model", "owner/bare").commit({"other.json": b"{}"})
    server.faults += [
        Fault("owner/down", status=503, times=0),
        Fault("owner/closed", times=0),
        Fault("owner/forbidden/resolve", status=403, times=0),
    ]
    with pytest.raises(error, match=words) as raised:
        reached.fetch(repository)
    assert reached.waits == waits
    assert raised.value.where == repository.where
    assert token is None or token not in str(raised.value)
    assert not list(reached.hub.pins.parent.rglob("*.incomplete"))


def test_a_token_opens_what_is_gated_and_is_sent_to_the_hub_alone(
    reached: Reached, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file store gets a signed address and no token."""
    reached.server.repo("model", "owner/gated", gated=True, readers={TOKEN}).commit(FILES)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert reached.fetch(Repository("model", "owner/gated")) == EXPECTED
    assert {request.authorization for request in reached.server.requests if request.store} == {None}
    assert f"Bearer {TOKEN}" in {request.authorization for request in reached.server.requests}


def test_a_branch_is_resolved_once_and_written_down(reached: Reached) -> None:
    """It moves; we stay, also when the whole cache is gone. Without the record the new commit is taken."""
    repo = reached.server.repos["model", "owner/name"]
    first = reached.hub.commit(MODEL)
    second = repo.commit(FILES | {"config.json": b'{"new": 1}'})
    assert reached.fetch() == EXPECTED
    shutil.rmtree(reached.hub.cache or Path())
    assert reached.fetch() == EXPECTED
    assert json.loads(reached.hub.pins.read_text())["model owner/name@main"]["commit"] == first
    reached.hub.pins.unlink()
    assert reached.hub.commit(MODEL) == second
    assert reached.fetch()["config.json"] == b'{"new": 1}'
    reached.asked("")
    assert reached.hub.commit(Repository("model", "owner/name", first)) == first
    assert reached.asked("") == 0


def test_a_damaged_record_of_commits_is_said(reached: Reached) -> None:
    """And not taken for an empty one: a study might get other data."""
    reached.hub.pins.write_text("{")
    with pytest.raises(ConfigError, match="not valid JSON"):
        reached.fetch()
    assert reached.asked("") == 0


def test_a_cache_that_lost_files_or_bytes_is_mended(
    reached: Reached, caplog: pytest.LogCaptureFixture
) -> None:
    """What is left is not downloaded again, and nothing of the wrong size is used."""
    caplog.set_level("INFO", logger="thriftune.hub")
    folder = reached.hub.snapshot(MODEL, WANTED).folder
    (folder / "model.safetensors").resolve().write_bytes(b"short")
    reached.asked("")
    assert reached.fetch() == EXPECTED
    assert "model.safetensors of the model owner/name is incomplete in the cache" in caplog.text
    assert reached.asked("config.json") == 0
    (folder / "config.json").resolve().unlink()
    assert reached.fetch() == EXPECTED
    assert "missing files of the model owner/name" in caplog.text
    assert reached.asked("safetensors") == 0


def test_without_the_hub_the_cache_is_enough_or_the_message_says_what_to_copy(
    reached: Reached, tmp_path: Path
) -> None:
    """Copied to another machine, without our record of the branch: the cache's own is taken."""
    reached.fetch()
    other = Hub(tmp_path / "other.json", reached.server.url, tmp_path / "copied", reached.waits.append)
    shutil.copytree(tmp_path / "cache", tmp_path / "copied", symlinks=True)
    gone(reached.server)
    snapshot = other.snapshot(MODEL, WANTED, needed=("config.json",))
    assert (snapshot.folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert reached.waits == BACKOFF
    shutil.rmtree(snapshot.folder)
    with pytest.raises(UnavailableError, match=str(tmp_path / "copied")):
        other.snapshot(MODEL, WANTED)


def test_offline_nothing_is_asked(tmp_path: Path, server: HubServer) -> None:
    """HF_HUB_OFFLINE=1: the cache or a message, in a process of its own, since it is read at import."""
    program = (
        "import sys; from pathlib import Path; from thriftune.hub import Hub, Repository\n"
        "from thriftune.errors import ThriftuneError\n"
        f"hub = Hub(Path({str(tmp_path / 'pins.json')!r}), cache=Path({str(tmp_path / 'cache')!r}))\n"
        "try: print(hub.snapshot(Repository('model', 'owner/name'), ['*.json', '*.safetensors']).commit)\n"
        "except ThriftuneError as error: print(error); sys.exit(error.exit_code)"
    )

    def run(**extra: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        return subprocess.run(
            [sys.executable, "-c", program],
            env={**environment, "HF_ENDPOINT": server.url, **extra},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    refused = run(HF_HUB_OFFLINE="1")
    assert refused.returncode == 4, refused.stderr
    assert "switched off (HF_HUB_OFFLINE=1)" in refused.stdout
    assert server.requests == []
    assert run().returncode == 0
    server.requests.clear()
    (tmp_path / "pins.json").unlink()
    again = run(HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.strip() == server.repos["model", "owner/name"].branches["main"]
    assert server.requests == []


def test_a_killed_download_leaves_nothing_that_is_used(reached: Reached, tmp_path: Path) -> None:
    """SIGKILL in mid-file: what it left is removed, the file taken anew."""
    reached.server.repos["model", "owner/name"].commit(FILES | LARGE)
    reached.server.faults.append(Fault("signature", "GET", cut_after=13_000_000))
    reached.server.faults.append(Fault("signature", "GET", hang_seconds=30.0, times=0))
    program = (
        "from pathlib import Path; from thriftune.hub import Hub, Repository\n"
        f"pins, cache = Path({str(reached.hub.pins)!r}), Path({str(reached.hub.cache)!r})\n"
        f"hub = Hub(pins, {reached.server.url!r}, cache)\n"
        f"hub.snapshot(Repository('model', 'owner/name'), {list(WANTED)!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    torn: list[Path] = []
    while not any(path.stat().st_size for path in torn) and time.monotonic() < deadline:
        time.sleep(0.05)
        torn = list(tmp_path.rglob("*.incomplete"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(tmp_path.rglob("*.incomplete"))
    reached.server.faults.clear()
    assert reached.fetch() == EXPECTED | LARGE
    assert not list(tmp_path.rglob("*.incomplete"))
