"""Tokenised splits that go under pressure: never one that another process reads or has just found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.conftest import TINY
from tests.support.tables import POSTS, ROWS, config_at, write

from thriftune import files
from thriftune.config import EncoderFromConfig, StorageConfig
from thriftune.corpus.ingestion import ingest
from thriftune.corpus.store import CorpusStore
from thriftune.corpus.tokens import TokenisedStore
from thriftune.dual_agent.windows import Layout
from thriftune.errors import OutOfStorageError
from thriftune.model.encoder import build_encoder
from thriftune.study.storage import open_store

pytestmark = pytest.mark.unit


def tokenise_train(folder: Path) -> None:
    """Ingest, tokenise, and hold the training split until the process ends."""
    write(folder / "posts.csv", POSTS)
    write(folder / "annotations.csv", ROWS)
    corpus = ingest(config_at(folder), CorpusStore(folder / "out"), lambda line: None)
    source = EncoderFromConfig.model_validate(TINY)
    encoder = build_encoder(source, lambda: (post.text for post in corpus.posts("train")), folder / "tokens")
    TokenisedStore(folder / "tokens").get(
        corpus, "train", encoder.tokenizer, encoder.fingerprint, Layout(16, 4)
    )


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """The folder of a split that a process has tokenised which is gone."""
    if (pid := os.fork()) == 0:
        try:
            tokenise_train(tmp_path)
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    [folder] = (tmp_path / "tokens").glob("tokens_*")
    return folder


def press(tokens: Path) -> None:
    """Require room that there is only without the tokens. OutOfStorageError where they stay."""
    cache = tokens.parent
    budget = int((files.directory_bytes(cache) + 10_000) / 0.95)
    policy = StorageConfig.model_validate({"free_disk_watermark": 0.0, "max_total_size": budget})
    store = open_store(cache.parent / "study", "study-00000000", policy, [cache])
    with store.owned(lambda: None, reclaim=TokenisedStore(cache).dispose):
        store.require_room(10_000 + files.directory_bytes(tokens) // 2)


def test_tokens_that_a_process_has_just_found_stay(tokens: Path) -> None:
    """It has checked them under their lock, and holds them only afterwards."""
    with files.file_lock(tokens), pytest.raises(OutOfStorageError):
        press(tokens)
    assert tokens.is_dir()
    press(tokens)
    assert not tokens.exists()


def test_tokens_are_locked_while_they_are_deleted(tokens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes then waits, finds none and tokenises; nobody reads what is half deleted."""
    found = []

    def look(event: files.Event) -> None:
        if event.operation in ("unlink", "rmdir") and tokens in (event.path, *event.path.parents):
            try:
                with files.file_lock(tokens, wait=False):
                    found.append("free")
            except TimeoutError:
                found.append("locked")

    monkeypatch.setattr(files, "observer", look)
    press(tokens)
    assert set(found) == {"locked"}
    assert not tokens.exists()


def test_tokens_that_a_process_reads_stay(tokens: Path) -> None:
    """This one holds them by reading them."""
    tokenise_train(tokens.parent.parent)
    with pytest.raises(OutOfStorageError):
        press(tokens)
    assert tokens.is_dir()
