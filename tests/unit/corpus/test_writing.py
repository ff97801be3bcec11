"""A corpus that is made in bounded memory goes on where a kill left it, to the same bytes."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import TINY
from tests.support.tables import POSTS, ROWS, config_at, write

from thriftune import files
from thriftune.config import EncoderFromConfig, SplitConfig
from thriftune.corpus import tokens, writing
from thriftune.corpus.annotation_spool import AnnotationSpool
from thriftune.corpus.ingestion import ingest
from thriftune.corpus.reading import TableScan
from thriftune.corpus.sources import find_sources, read_tables
from thriftune.corpus.splits import MOST_ITERATIVE, SPLITS, group_duplicates, stratified_split
from thriftune.corpus.store import CorpusStore
from thriftune.dual_agent.windows import Layout
from thriftune.errors import DataError
from thriftune.model.encoder import build_encoder

pytestmark = pytest.mark.unit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty posts, a duplicate among them, and a sentence each."""
    write(tmp_path / "posts.csv", [*POSTS, ["p20", POSTS[3][1].upper()]])
    write(tmp_path / "annotations.csv", ROWS)
    return tmp_path


def prepare(folder: Path) -> None:
    """Ingest and tokenise, in batches of a few posts."""
    corpus = ingest(config_at(folder), CorpusStore(folder / "out"), print)
    source = EncoderFromConfig.model_validate(TINY)
    encoder = build_encoder(source, lambda: (post.text for post in corpus.posts("train")), folder / "tokens")
    store = tokens.TokenisedStore(folder / "tokens")
    store.get(corpus, "train", encoder.tokenizer, encoder.fingerprint, Layout(16, 4))


def dies(folder: Path, kill_at: int) -> bool:
    """Whether a process of its own was killed, with SIGKILL before a call that changes the disk, or came to
    its end."""
    calls = 0

    def observe(event: files.Event) -> None:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    if (pid := os.fork()) == 0:
        files.observer = observe
        try:
            prepare(folder)
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


def made(folder: Path) -> dict[str, bytes]:
    """Every file but locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for place in ("out", "tokens")
        for path in sorted((folder / place).rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def test_killed_again_and_again_it_goes_on_to_the_same_bytes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each start gets further than the one before, whatever call it dies at; nothing is left beside."""
    monkeypatch.setattr(writing, "BATCH_BYTES", 300)
    monkeypatch.setattr(tokens, "SHARD_POSTS", 4)
    assert not dies(folder, 0)
    wanted = made(folder)
    assert sum(name.endswith(".arrow") for name in wanted) > 2
    for least in (40, 46):  # to commit what is made takes some thirty calls
        for place in ("out", "tokens"):
            shutil.rmtree(folder / place)
        deaths = 0
        while dies(folder, least + deaths % 5):
            deaths += 1
            assert deaths < 30
        assert deaths > 3
        assert made(folder) == wanted


def test_posts_that_change_between_the_two_readings_are_noticed(folder: Path) -> None:
    """They would get another post's annotations."""
    config, store = config_at(folder), CorpusStore(folder / "out")
    tables = read_tables(config, find_sources(config))
    plan = TableScan(config).plan(tables, ())
    for changed in (POSTS[:-1], [*POSTS[:3], ["p2", "Other."], *POSTS[4:], ["p20", "x"]]):
        write(folder / "posts.csv", changed)
        with pytest.raises(DataError, match="changed while they were read"), store.writing("0" * 64) as place:
            writing.make_posts(place, tables.posts, plan, config)


def test_half_characters_are_told_with_their_rows(folder: Path) -> None:
    """JSON can hold them, UTF-8 cannot."""
    (folder / "posts.jsonl").write_text('{"post_id": "p0", "text": "a \\ud800 b"}\n', encoding="utf-8")
    config = config_at(folder).model_copy(
        update={"files": config_at(folder).files.model_copy(update={"posts": str(folder / "posts.jsonl")})}
    )
    with pytest.raises(DataError, match=r"half a character [^\n]*\n[^\n]*row 1"):
        ingest(config, CorpusStore(folder / "out"), print)


def test_a_column_that_no_row_has_is_said(folder: Path) -> None:
    """Rows of JSONL may lack what others have, so all must be seen."""
    (folder / "posts.jsonl").write_text('{"post_id": "p0"}\n' * 3, encoding="utf-8")
    config = config_at(folder).model_copy(
        update={"files": config_at(folder).files.model_copy(update={"posts": str(folder / "posts.jsonl")})}
    )
    with pytest.raises(DataError, match=r"(?s)no column 'text'.*name yours: corpus\.columns\.text="):
        ingest(config, CorpusStore(folder / "out"), print)


def test_a_byte_that_is_no_text_is_found_far_down(folder: Path) -> None:
    """Its line and its place in the file, also behind what was read in one piece."""
    filler = b"".join(b"q%d,some words\n" % number for number in range(3000))
    for wrong, said in ((b"\xff", "0xff at line 3002"), (b"\0", "zero byte at line 3002")):
        (folder / "posts.csv").write_bytes(b"post_id,text\n" + filler + b"z," + wrong + b"\n")
        with pytest.raises(DataError, match=rf"{said} \(byte {13 + len(filler) + 2}\)"):
            ingest(config_at(folder), CorpusStore(folder / "out"), print)


def test_rows_come_back_by_post_in_the_order_they_came() -> None:
    """However many there are, and from any post on."""
    spool = AnnotationSpool()
    for number in range(25_000):
        spool.add(number % 100, "A" if number % 3 else "B", str(number), number % 2)
    spool.finish()
    assert sum(spool.counts().values()) == 25_000
    found = dict(spool.by_post(40))
    assert list(found) == list(range(40, 100))
    assert [sentence for _, sentence, _ in found[40]] == [str(number) for number in range(40, 25_000, 100)]
    assert len(list(spool.met())) == 12_500


def test_very_many_posts_are_split_by_shares_of_every_combination() -> None:
    """To within one post of each combination of labels a cut; duplicates stay together."""
    chance = np.random.default_rng(0)
    labels = chance.random((MOST_ITERATIVE + 5000, 4)) < (0.5, 0.2, 0.02, 0.001)
    keys = np.arange(len(labels))
    keys[-100:] = np.arange(100)  # copies
    groups = group_duplicates(keys)
    splits = stratified_split(groups, labels, SplitConfig())
    assert (splits[-100:] == splits[:100]).all()
    heads, codes = labels[:-100], labels[:-100] @ [1, 2, 4, 8]
    for combination in np.unique(codes):
        own = splits[:-100][codes == combination]
        for split, share in enumerate((0.7, 0.15, 0.15)):
            assert abs((own == split).sum() - share * len(own)) <= 2, (combination, SPLITS[split])
    assert len(heads) == len(keys) - 100
    again = stratified_split(groups, labels, SplitConfig())
    assert (splits == again).all()
    other = stratified_split(groups, labels, SplitConfig(seed=1))
    assert (splits != other).any()


def test_the_splits_table_lists_every_post_once(folder: Path) -> None:
    """With quotes where an id needs them."""
    write(folder / "posts.csv", [*POSTS[:-1], ['p,"19"', POSTS[-1][1]]])
    write(folder / "annotations.csv", ROWS[:-1])
    corpus = ingest(config_at(folder), CorpusStore(folder / "out"), print)
    with (corpus.folder / "splits.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    where = {post.post_id: split for split in SPLITS for post in corpus.posts(split)}
    assert {row["post_id"]: row["split"] for row in rows} == where
    assert len(rows) == 20
