"""study.json: identity, changes, and a garbled one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thriftune import files
from thriftune.config import parse_parameters
from thriftune.corpus.reference import CorpusReference, DataRevision
from thriftune.errors import DamageError, NewerFormatError, RefusedError, StudyError
from thriftune.study.file_locks import StudyLock
from thriftune.study.identity import StudyIdentity
from thriftune.study.opening import FILES, move, open_or_create, require_arbiter
from thriftune.study.provenance import git_commit
from thriftune.study.record import Stop, StudyRecord, read_record, recorded_threads, write_record
from thriftune.study.shown import study_params

pytestmark = pytest.mark.unit
IDENTITY = StudyIdentity(threads=3, device="cpu", data_fingerprint="0")
ON_CUDA = StudyIdentity(threads=3, device="cuda", data_fingerprint="0")
DATA = CorpusReference(fingerprint="0")


def opened(folder: Path, identity: StudyIdentity = IDENTITY, **raw: Any) -> StudyRecord:
    """The record of a study with these parameters."""
    return open_or_create(folder, "s-0", parse_parameters(raw, root=folder), identity, DATA)


def test_what_may_change_is_noted_and_what_may_not_is_refused(tmp_path: Path) -> None:
    """Storage settings change, the device does not; more trials are asked for expressly."""
    opened(tmp_path, study={"trials": 2})
    record = opened(tmp_path, study={"trials": 2}, storage={"keep_last_n": 3})
    assert [change.settings for change in record.changes] == [("storage.keep_last_n: 1 -> 3",)]
    with pytest.raises(StudyError, match="device"):
        opened(tmp_path, ON_CUDA, study={"trials": 2})
    with pytest.raises(StudyError, match=r"study\.extend"):
        opened(tmp_path, study={"trials": 4})
    assert opened(tmp_path, study={"trials": 4, "extend": True}).trials == 4
    assert opened(tmp_path, study={"trials": 2}).trials == 4
    assert recorded_threads(tmp_path, None) == 3
    assert recorded_threads(tmp_path, 7) == 7
    assert recorded_threads(tmp_path / "none", 7) == 7


def test_every_change_is_noted_once(tmp_path: Path) -> None:
    """With those before it; the same settings again leave the file as it is."""
    record = opened(tmp_path, study={"trials": 2, "seed": 11}, corpus={"split": {"seed": 12}})
    assert (record.trials, record.seeds) == (2, {"study": 11, "split": 12, "bootstrap": 0})
    settings: dict[str, Any] = {"study": {"trials": 2, "seed": 11}, "corpus": {"split": {"seed": 12}}}
    opened(tmp_path, **settings, storage={"keep_last_n": 3})
    opened(tmp_path, **settings, storage={"keep_last_n": 4})
    file = (tmp_path / "study.json").stat().st_ino
    record = opened(tmp_path, **settings, storage={"keep_last_n": 4})
    assert [change.settings for change in record.changes] == [
        ("storage.keep_last_n: 1 -> 3",),
        ("storage.keep_last_n: 3 -> 4",),
    ]
    assert record == read_record(tmp_path)
    assert (tmp_path / "study.json").stat().st_ino == file


def test_a_branch_that_moved_on_is_named_with_the_commit_to_return_to(tmp_path: Path) -> None:
    """Where the data differ because of it; not where another data set was chosen, or other settings."""

    def at(commit: str, name: str = "me/posts") -> CorpusReference:
        return CorpusReference(
            fingerprint="0", revision=DataRevision(id=name, revision="main", commit=commit)
        )

    def refusal(data: CorpusReference) -> str:
        with pytest.raises(RefusedError) as caught:
            open_or_create(tmp_path, "s-0", parse_parameters({}, root=tmp_path), ON_CUDA, data)
        return str(caught.value)

    record = open_or_create(tmp_path, "s-0", parse_parameters({}, root=tmp_path), IDENTITY, at("c0ffee"))
    assert study_params(record)["data_commit"] == "c0ffee"
    assert "set corpus.hub.revision=c0ffee" in refusal(at("decade"))
    assert "corpus.hub.revision" not in refusal(at("c0ffee"))
    assert "corpus.hub.revision" not in refusal(at("decade", "me/others"))


def test_a_study_s_run_shows_its_settings_without_catalogue_and_space(tmp_path: Path) -> None:
    """Hundreds of parameters of encoders that it does not use would hide the others."""
    shown = study_params(opened(tmp_path, study={"trials": 2}))
    assert (shown["study.trials"], shown["device"]) == (2, "cpu")
    assert not [name for name in shown if name.startswith(("encoders.", "search."))]


def test_a_record_that_is_not_valid_is_not_written(tmp_path: Path) -> None:
    """What is there stays."""
    record = opened(tmp_path)
    with pytest.raises(ValueError, match="at trials: Input should be greater than or equal to 1, got '0'"):
        write_record(tmp_path, record.model_copy(update={"trials": 0}))
    assert read_record(tmp_path) == record


def test_a_search_that_another_process_ended_continues_on_disk_too(tmp_path: Path) -> None:
    """Two processes of one study with different timeouts: the lower one ended it, the higher one is on record
    already. Every process reads the record again, so it must say there that the search continues."""
    opened(tmp_path, study={"trials": 2, "timeout": 100})
    record = opened(tmp_path, study={"trials": 2, "timeout": 200})
    stop = Stop(rule="timeout", limit=100, trials=1, seconds=101.0, reason="101 s of training")
    write_record(tmp_path, record.model_copy(update={"ended": stop}))
    assert opened(tmp_path, study={"trials": 2, "timeout": 200}) == record
    assert read_record(tmp_path) == record


def test_who_asks_another_arbiter_is_refused_until_the_study_is_moved(tmp_path: Path) -> None:
    """Workers of a server and a machine that does not know of it; a record of an older version has none."""
    parameters = parse_parameters({}, root=tmp_path)
    words = (tmp_path, "s-0", parameters, IDENTITY, DATA)
    server = "PostgreSQL 7, database optuna"
    assert open_or_create(*words, server).arbiter == server
    for arbiter in (FILES, "PostgreSQL 8, database optuna"):
        with pytest.raises(RefusedError, match=f"is locked through the {server}; .* use the {arbiter}"):
            require_arbiter(tmp_path, arbiter)
        with pytest.raises(RefusedError, match="tracking rebuild --move --yes"):
            open_or_create(*words, arbiter)
    with pytest.raises(RefusedError), StudyLock(tmp_path, shared=True):
        pass
    with pytest.raises(RefusedError):
        StudyLock(tmp_path).is_held()
    with StudyLock(tmp_path, moving=True):
        move(tmp_path, FILES, parse_parameters({"tracking": {"root": "elsewhere"}}))
        moved = read_record(tmp_path)
        move(tmp_path, FILES, parameters)  # it is there
    assert moved is not None
    assert moved.parameters().tracking.root == "elsewhere"
    assert read_record(tmp_path) == moved
    with StudyLock(tmp_path):
        record = open_or_create(*words, FILES)
    assert record.changes[0].settings == (f"arbiter: {server} -> {FILES}",)
    write_record(tmp_path, record.model_copy(update={"arbiter": None}))
    require_arbiter(tmp_path, server)
    assert open_or_create(*words, FILES) == record
    assert read_record(tmp_path) == record


def test_a_record_has_the_keys_that_it_always_had(tmp_path: Path) -> None:
    """A key without a value is not in the file, which earlier versions read by its keys; one that a later
    version added stays there, also when the record is written again."""
    opened(tmp_path)
    path = tmp_path / "study.json"
    value = files.read_json(path)
    assert {"ended", "extended"}.isdisjoint(value)
    later = {**value, "later": {"is": "kept"}, "identity": {**value["identity"], "other": 1}}
    del later["checksum"], later["arbiter"]
    files.write_json(path, {**later, "checksum": files.sha256_json(later)})
    record = read_record(tmp_path)
    assert record is not None
    write_record(tmp_path, record)
    assert files.read_json(path) == {**later, "checksum": files.sha256_json(later)}


def test_a_record_that_was_edited_is_damage(tmp_path: Path) -> None:
    """A changed number of trials would go unnoticed."""
    opened(tmp_path)
    path = tmp_path / "study.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"trials": 6', '"trials": 7'), encoding="utf-8")
    with pytest.raises(DamageError, match="checksum"):
        read_record(tmp_path)


@pytest.mark.parametrize("content", ["{", "{}", "[]"])
def test_a_garbled_record_is_damage(tmp_path: Path, content: str) -> None:
    """Never taken for a study that is not there."""
    (tmp_path / "study.json").write_text(content, encoding="utf-8")
    with pytest.raises(DamageError, match="not a study record"):
        read_record(tmp_path)
    require_arbiter(tmp_path, FILES)  # left to those who need what the record says


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where git is not installed."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert git_commit(tmp_path) is None


def test_a_record_of_a_newer_format_is_not_taken_for_damage(tmp_path: Path) -> None:
    """Unless its checksum does not hold: then its version may be what is damaged."""
    opened(tmp_path)
    path = tmp_path / "study.json"
    record = {**files.read_json(path), "schema_version": 2}
    files.write_json(path, record)
    with pytest.raises(DamageError, match="not a study record"):
        read_record(tmp_path)
    del record["checksum"]
    files.write_json(path, {**record, "checksum": files.sha256_json(record)})
    with pytest.raises(NewerFormatError, match="format 2, and this version knows formats up to 1"):
        read_record(tmp_path)
