"""From tables to a corpus: what is wrong is told at once, what is right is kept and reused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import small_parameters
from tests.support.tables import POSTS, ROWS, config_at, write

from thriftune.corpus.align import Aligner
from thriftune.corpus.ingestion import ingest
from thriftune.corpus.sources import SAMPLE
from thriftune.corpus.store import CorpusStore
from thriftune.corpus.tables import read_table
from thriftune.corpus.types import SPLITS
from thriftune.dual_agent.sentences import split_sentences
from thriftune.errors import DataError

pytestmark = pytest.mark.unit

GENERATOR = Path(__file__).parents[3] / "tools" / "sample.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "posts.csv", POSTS)
    write(tmp_path / "annotations.csv", ROWS)
    return tmp_path


def refused(folder: Path, **more: object) -> str:
    store = CorpusStore(folder / "out")
    with pytest.raises(DataError) as caught:
        ingest(config_at(folder, **more), store, lambda line: None)
    assert not store.root.exists()
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_every_problem_of_a_table_is_told_at_once(folder: Path) -> None:
    """Bad status, orphan, empty text, duplicate id, empty sentence: one message with rows."""
    write(folder / "posts.csv", [*POSTS, ["p1", "Again."], ["p99", " "], ["", "No id."]])
    write(
        folder / "annotations.csv",
        [
            *ROWS,
            ["p0", "x", "MOOD", "2"],
            ["none", "x", "MOOD", "1"],
            ["p0", " ", "MOOD", "1"],
            ["p0", "x", "", "1"],
        ],
    )
    message = refused(folder)
    for text in (
        "occurs twice",
        "row 22: 'p1'",
        "not 0 or 1",
        "unknown post",
        "no text",
        "no sentence",
        "no label",
        "empty id",
    ):
        assert text in message


SAID = "I have not slept since spring."


@pytest.mark.parametrize(
    ("posts", "annotations", "more", "said"),
    [
        ([["post_id", "text"], [SAID, " "]], [], {}, "has no text"),
        ([["post_id", "text"], [SAID, "a"], [SAID, "b"]], [], {}, "occurs twice"),
        ([[SAID, "a"]], [], {}, "there is no column 'post_id'"),
        (POSTS, [[SAID, "x", "MOOD", "1"]], {}, "unknown post"),
        (POSTS, [["p0", "x", "MOOD", SAID]], {}, "not 0 or 1"),
        (POSTS, [["p0", "x", SAID, "1"]], {"criteria": ["MOOD"]}, "label is unknown"),
    ],
)
def test_a_post_s_text_in_another_column_is_not_quoted(
    folder: Path, posts: list[list[str]], annotations: list[list[str]], more: dict[str, object], said: str
) -> None:
    """A row cut wrong, a column taken for another, a table without a header: row and length are told."""
    write(folder / "posts.csv", posts)
    write(folder / "annotations.csv", [*ROWS, *annotations])
    message = refused(folder, **more)
    assert said in message
    assert f"a text of {len(SAID)} characters" in message
    assert SAID not in message


def test_no_more_than_twenty_of_a_kind_are_shown(folder: Path) -> None:
    """The rest is counted."""
    write(folder / "annotations.csv", [*ROWS, *[["p0", "x", "MOOD", "9"] for _ in range(30)]])
    assert "and 10 more" in refused(folder)


def test_a_table_that_cannot_be_read_is_refused_with_its_cause(folder: Path) -> None:
    """Missing file, missing column, empty, no UTF-8, a stray quote, other format, broken lines."""
    posts = folder / "posts.csv"
    write(posts, [["post_id", "txt"], ["a", "b"]])
    assert "did you mean 'txt'" in refused(folder)
    write(posts, POSTS[:1])
    assert "no rows" in refused(folder)
    posts.write_bytes(b"post_id,text\na,caf\xe9\n")
    assert "line 2" in refused(folder)
    posts.write_text('post_id,text\na,"One" two.\nb,Three.\n', encoding="utf-8")
    assert "not a CSV table" in refused(folder)
    posts.unlink()
    assert "corpus.files.posts" in refused(folder)
    for name, content, text in (
        ("x.txt", b"", ".csv, .jsonl, .parquet"),
        ("x.jsonl", b"{]\n", "line 1"),
        ("y.jsonl", b"\n[1]\n", "line 2"),
        ("x.parquet", b"nothing", "Parquet"),
    ):
        (folder / name).write_bytes(content)
        with pytest.raises(DataError, match=text):
            read_table(folder / name, {"a": ""}, "key")
    with pytest.raises(DataError, match="no such file"):
        read_table(folder / "none.csv", {"a": ""}, "key")
    os.mkfifo(folder / "pipe.csv")
    with pytest.raises(DataError, match="not a regular file"):
        read_table(folder / "pipe.csv", {"a": ""}, "key")


def test_jsonl_and_parquet_read_like_csv(folder: Path) -> None:
    """The three formats give the same cells."""
    import pyarrow
    from pyarrow import parquet

    (folder / "t.jsonl").write_text('{"a": 1, "b": null}\n{"a": 2.0, "b": "x"}\n', encoding="utf-8")
    parquet.write_table(pyarrow.table({"a": [1, 2], "b": [None, "x"]}), folder / "t.parquet")
    (folder / "t.csv").write_text("a,b\n1,\n2,x\n", encoding="utf-8")
    cells = [
        [row for _, row in read_table(folder / name, {"a": "", "b": ""}, "key").rows]
        for name in ("t.jsonl", "t.parquet", "t.csv")
    ]
    assert cells[0] == cells[1] == cells[2]


def test_labels_that_are_unknown_or_absent(folder: Path) -> None:
    """A label outside corpus.criteria, and a criterion that no row has, are named."""
    assert "'SLEEP'" in refused(folder, criteria=["MOOD", "FATIGUE"])
    assert "no row with status 1" in refused(folder, criteria=["MOOD", "SLEEP", "FATIGUE"])
    write(folder / "annotations.csv", [ROWS[0], ["p0", "x", "SPECIAL_CASE", "1"]])
    assert "nothing to learn" in refused(folder)


def test_own_splits_are_used_and_checked(folder: Path) -> None:
    """Missing posts, wrong names, double and leaking posts are told; a right table is kept."""
    table = [["post_id", "split"]] + [[f"p{i}", SPLITS[i % 3]] for i in range(20)]
    write(folder / "s.csv", [*table[:-1], ["p0", "test"], ["zz", "test"], ["p5", "tset"]])
    message = refused(folder, splits=str(folder / "s.csv"))
    for text in ("no split", "two splits", "unknown post", "did you mean 'test'"):
        assert text in message
    write(folder / "posts.csv", [*POSTS, ["p20", POSTS[1][1].upper()]])
    write(folder / "s.csv", [*table, ["p20", "test"]])
    assert "leakage" in refused(folder, splits=str(folder / "s.csv"))
    write(folder / "posts.csv", POSTS)
    write(folder / "s.csv", table)
    corpus = ingest(config_at(folder, splits=str(folder / "s.csv")), CorpusStore(folder / "out"), str)
    assert [post.post_id for post in corpus.posts("train")][:2] == ["p0", "p3"]


def test_unchanged_inputs_are_not_read_again_and_damage_is_noticed(folder: Path) -> None:
    """The second ingest says so; a changed split file is made again, to the same bytes."""
    store, lines = CorpusStore(folder / "out"), []
    first = ingest(config_at(folder), store, lines.append)
    again = ingest(config_at(folder), store, lines.append)
    assert "unchanged" in lines[-1]
    assert again == first
    (first.folder / "test.jsonl").write_bytes(b"")
    with pytest.raises(DataError, match="the test split's file is gone, or is not what ingest wrote"):
        first.check("validation", "test")
    ingest(config_at(folder), store, lines.append)
    assert "alignment" in lines[-1]
    assert sum(1 for split in SPLITS for _ in first.posts(split)) == 20
    (first.folder / "test.jsonl").unlink()
    with pytest.raises(DataError, match="test split's file is gone"):
        list(first.posts("test"))
    with pytest.raises(DataError, match="there is no corpus"):
        store.open("f" * 64)


def test_too_few_posts_to_split(folder: Path) -> None:
    """A corpus that cannot be split says how many posts it needs."""
    write(folder / "posts.csv", POSTS[:5])
    write(folder / "annotations.csv", ROWS[:5])
    assert "at least 10" in refused(folder)


def test_duplicate_posts_go_to_one_split(folder: Path) -> None:
    """Posts that differ in case and white space only are never on two sides."""
    copies = [[f"c{i}", POSTS[i + 1][1].upper() + "  "] for i in range(10)]
    write(folder / "posts.csv", [*POSTS, *copies])
    corpus = ingest(config_at(folder), CorpusStore(folder / "out"), lambda line: None)
    where = {post.post_id: split for split in SPLITS for post in corpus.posts(split)}
    assert all(where[f"c{i}"] == where[f"p{i}"] for i in range(10))
    assert corpus.data_report()["duplicate_posts"] == 10


def test_the_sample_keeps_its_promises(tmp_path: Path) -> None:
    """Same bytes from the seed; sizes, labels, negatives and inexact sentences as described."""
    subprocess.run([sys.executable, GENERATOR, tmp_path / "made"], check=True)
    for name in ("posts.csv", "annotations.csv"):
        assert (tmp_path / "made" / name).read_bytes() == (SAMPLE / name).read_bytes()
    config = small_parameters(tmp_path).corpus.model_copy(update={"source": "sample"})
    corpus = ingest(config, CorpusStore(tmp_path / "out"), lambda line: None)
    report = corpus.data_report()
    assert sum(corpus.counts.values()) >= 900
    assert len(corpus.criteria) == 9
    assert all(sum(report["positive_posts"][name].values()) >= 80 for name in corpus.criteria)
    assert report["sentences_per_post"]["min"] == 1
    assert report["sentences_per_post"]["max"] <= 40
    assert report["posts_without_criterion"] > 100
    assert report["annotations"]["explicit_negative"] > 100
    assert report["alignment"]["folded"] > 20
    assert report["alignment"]["fuzzy"] > 20


@given(st.text())
def test_candidates_cover_the_text(text: str) -> None:
    """Ordered, disjoint, never blank; every character that is no white space is in one."""
    spans = split_sentences(text)
    covered: set[int] = set()
    for start, end in spans:
        assert text[start:end].strip() == text[start:end] != ""
        assert not covered & set(range(start, end))
        covered |= set(range(start, end))
    assert {i for i, c in enumerate(text) if not c.isspace()} <= covered
    assert list(spans) == sorted(spans)


def test_sentences_end_where_a_reader_ends_them() -> None:
    """Abbreviations and decimals do not end a sentence; quotes close with it."""
    text = 'Dr. Who slept 3.5 hours, e.g. badly. "Really?" he said!\nNew line'
    assert [text[s:e] for s, e in split_sentences(text)] == [
        "Dr. Who slept 3.5 hours, e.g. badly.",
        '"Really?" he said!',
        "New line",
    ]


def test_alignment_says_how_it_found_a_place() -> None:
    """Exact, folded and fuzzy places; a repeated sentence takes the next place; absence is said."""
    text = "I sleep badly. I sleep badly. The  BUS was late today. Nothing else."
    aligner = Aligner(text, split_sentences(text), 70)
    one, two, three = (aligner.align("I sleep badly.", "A") for _ in range(3))
    assert (one.start, two.start, three.start) == (0, 15, 15)
    assert aligner.align("I sleep badly.", "B").start == 0
    assert aligner.align("the bus was late today.", "A").found == "folded"
    assert aligner.align("Today the bus was really late", "A").found == "fuzzy"
    assert aligner.align("Completely different words here", "A").found == "none"
    assert aligner.align("", "A").found == "none"


def test_writers_without_capitals_have_sentences_too() -> None:
    """In time that grows with the text; an abbreviation still ends none, and other scripts have marks."""
    text = "i cannot sleep. i am tired of this. it began e.g. in may. " * 3000
    found = split_sentences(text)
    assert len(found) == 9000
    assert text[slice(*found[2])] == "it began e.g. in may."
    assert len(split_sentences("a" + " " * 200_000 + "b")) == 1
    assert [
        text[slice(*span)] for text in ("我睡不着。我很累！好吗？",) for span in split_sentences(text)
    ] == [
        "我睡不着。",
        "我很累！",
        "好吗？",
    ]
    assert len(split_sentences("I take pills, e.g. Xanax, daily. It helps.")) == 2


@pytest.mark.parametrize(
    ("text", "sentence", "found"),
    [
        ("I am sadly late again. I am sad.", "I am sad", "I am sad"),
        ("She ate nothing. Then he  ate it all.", "he ate", "he  ate"),
        (
            "Là-bas ça été très gênant. Rien.",
            "La\u0300-bas c\u0327a e\u0301te\u0301 tre\u0300s ge\u0302nant.",
            None,
        ),
        ("The ﬁrst ﬂower in the oﬃce. No.", "the first flower in the office.", "The ﬁrst ﬂower in the oﬃce."),
        ("IŞIKLARI KAPATTIM. Evet.", "ışıkları kapattım", "IŞIKLARI KAPATTIM"),
        ("in\u00adside the house. No.", "inside the house.", "in\u00adside the house."),
        ("今天我睡不着觉。", "睡不着", "睡不着"),
    ],
)
def test_sentences_are_found_as_a_reader_finds_them(text: str, sentence: str, found: str | None) -> None:
    """Not inside words; accents composed or not, ligatures, small and capital letters of other alphabets."""
    place = Aligner(text, split_sentences(text), 70).align(sentence, "A")
    assert place.start is not None
    assert place.found in ("exact", "folded")
    assert text[place.start : place.end] == (found or "Là-bas ça été très gênant.")


def test_few_posts_leave_no_split_empty(folder: Path) -> None:
    """Whatever the seed; where there can be none, it is said."""
    for seed in range(20):
        write(folder / "posts.csv", POSTS[:11])
        write(folder / "annotations.csv", ROWS[:11])
        corpus = ingest(config_at(folder, split={"seed": seed}), CorpusStore(folder / f"{seed}"), str)
        assert min(corpus.counts.values()) > 0
    shares = {"validation_share": 0.01, "test_share": 0.01}
    assert "no post is left for the" in refused(folder, split=shares)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.csv", b"post_id,text,text\n1,a,b\n", "two columns 'text'"),
        ("p.jsonl", b'{"post_id": 1, "text": {"a": 1}}\n', "line 1: expected text or a number, found dict"),
        ("p.jsonl", b"[" * 100_000, "line 1"),
    ],
)
def test_cells_that_are_no_text_are_told(folder: Path, name: str, content: bytes, said: str) -> None:
    """With their row, never written as Python shows them."""
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        list(read_table(folder / name, {"post_id": "", "text": ""}, "key").rows)


def test_a_damaged_parquet_table_is_told(folder: Path) -> None:
    """A page whose bytes are other ones, and bytes that are no text."""
    import pyarrow
    from pyarrow import parquet

    path = folder / "p.parquet"
    parquet.write_table(pyarrow.table({"a": [f"word {n} " * 50 for n in range(500)]}), path)
    content = bytearray(path.read_bytes())
    content[60:200] = bytes(140)
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        list(read_table(path, {"a": ""}, "key").rows)
    raw = pyarrow.array([b"fine", b"\xff"], pyarrow.binary())
    parquet.write_table(pyarrow.table({"a": raw.view(pyarrow.string())}), path)
    with pytest.raises(DataError, match="damaged"):
        list(read_table(path, {"a": ""}, "key").rows)
