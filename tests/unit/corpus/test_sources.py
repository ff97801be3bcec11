"""Data sets of the hub with ready splits, and criteria from a column of the posts."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import pytest
from tests.hub_server import HubServer

from thriftune.config import CorpusConfig
from thriftune.corpus.ingestion import ingest
from thriftune.corpus.store import Corpus, CorpusStore
from thriftune.errors import DataError
from thriftune.hub import Hub

pytestmark = pytest.mark.unit
NAMES = ["calm", "tired"]
TRAIN_ALONE = {"validation": None, "test": None}
LABELS: list[list[int]] = [[0], [1], [0, 1], []]


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


def posts(split: str, count: int, *, named: bool = False) -> list[dict[str, Any]]:
    """Posts that meet none, one or both of two criteria."""
    return [
        {
            "text": f"Post {number} of {split}. It says little.",
            "labels": [NAMES[label] if named else label for label in LABELS[number % 4]],
        }
        for number in range(count)
    ]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    """With the names of the labels in its schema, as the hub's converter writes it."""
    features = datasets.Features(
        {"text": datasets.Value("string"), "labels": datasets.List(datasets.ClassLabel(names=NAMES))}
    )
    content = io.BytesIO()
    datasets.Dataset.from_list(rows, features=features).to_parquet(content)
    return content.getvalue()


def corpus_of(folder: Path, server: HubServer, content: Mapping[str, bytes], **hub: Any) -> Corpus:
    server.repo("dataset", "owner/posts").commit(content)
    config = CorpusConfig.model_validate(
        {
            "source": "hub",
            "root": str(folder / "corpora"),
            "hub": {"id": "owner/posts", **hub},
            "columns": {"labels": "labels"},
        }
    )
    hub = Hub(folder / "revisions.json", server.url, folder / "cache")
    return ingest(config, CorpusStore(folder / "corpora"), lambda line: None, hub)


def test_ready_splits_are_taken_as_they_are(tmp_path: Path, server: HubServer) -> None:
    """All three, under names of their own; numbers of labels have the names of the schema; a post without an
    id gets one; a criterion without a sentence is met, and where is not known."""
    content = {
        f"data/{name}-00000-of-00001.parquet": parquet(posts(name, count))
        for name, count in (("train", 40), ("dev", 8), ("test", 12))
    }
    corpus = corpus_of(tmp_path, server, content, splits={"validation": "dev"})
    assert dict(corpus.counts) == {"train": 40, "validation": 8, "test": 12}
    assert corpus.criteria == ("calm", "tired")
    first, _, third, fourth = list(corpus.posts("validation"))[:4]
    assert first.post_id == "validation-0000001"
    assert (first.criteria, third.criteria, fourth.criteria) == (("calm",), ("calm", "tired"), ())
    assert [(item.found, item.start) for item in third.evidence] == [("label", None)] * 2
    assert corpus.data_report()["alignment"] == {"label": 60}
    assert corpus.revision["commit"] == server.repos["dataset", "owner/posts"].branches["main"]


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (TRAIN_ALONE, {"train": 70, "validation": 15, "test": 15}),
        ({"validation": None}, {"train": 85, "validation": 15, "test": 20}),
        ({"test": None}, {"train": 85, "validation": 20, "test": 15}),
    ],
    ids=["train alone", "no validation", "no test"],
)
def test_what_a_data_set_lacks_is_cut_from_its_train(
    tmp_path: Path, server: HubServer, theirs: dict[str, None], expected: dict[str, int]
) -> None:
    """Stratified, and the same the next time."""
    content = {"train.jsonl": lines(posts("train", 100, named=True))}
    for name in {"validation", "test"} - theirs.keys():
        content[f"{name}.jsonl"] = lines(posts(name, 20, named=True))
    corpus = corpus_of(tmp_path, server, content, splits=theirs)
    assert dict(corpus.counts) == pytest.approx(expected, abs=1)
    positive = corpus.data_report()["positive_posts"]["calm"]
    for split in ("train", "validation", "test"):
        assert positive[split] == pytest.approx(expected[split] / 2, abs=1)
    assert corpus_of(tmp_path / "again", server, content, splits=theirs).fingerprint == corpus.fingerprint


CONFIGURATIONS = """---
configs:
- config_name: short
  data_files:
  - {split: train, path: short/*.jsonl}
- config_name: long
  data_files:
  - {split: train, path: "long/*.jsonl"}
---
"""


def test_one_of_several_configurations_is_taken(tmp_path: Path, server: HubServer) -> None:
    """By its name, from all of its files; without one all are named."""
    content = {"README.md": CONFIGURATIONS.encode(), "short/a.jsonl": lines(posts("a", 30, named=True))}
    content |= {f"long/{part}.jsonl": lines(posts(part, 20, named=True)) for part in ("a", "b", "c")}
    corpus = corpus_of(tmp_path, server, content, splits=TRAIN_ALONE, config="long")
    assert sum(corpus.counts.values()) == 60
    for wrong in (None, "lang"):
        with pytest.raises(DataError, match=r"short.*long[^\n]*\n.*corpus\.hub\.config"):
            corpus_of(tmp_path / str(wrong), server, content, splits=TRAIN_ALONE, config=wrong)


@pytest.mark.parametrize(
    ("content", "hub", "words"),
    [
        ({"train.jsonl": lines(posts("train", 20, named=True))}, {}, "the split 'validation' of owner/posts"),
        (
            {"train.jsonl": b'{"text": "a"}\n' * 20},
            {"splits": {"validation": None, "test": None}},
            "'labels'",
        ),
        ({"README.md": b"words"}, {}, "corpus.hub.posts and .annotations"),
    ],
    ids=["no such split", "no such column", "no data"],
)
def test_a_split_or_a_column_that_is_not_there_is_said(
    tmp_path: Path, server: HubServer, content: dict[str, bytes], hub: dict[str, Any], words: str
) -> None:
    """With what to set."""
    with pytest.raises(DataError, match=words):
        corpus_of(tmp_path, server, content, **hub)


def test_a_row_that_cannot_be_read_is_not_quoted(tmp_path: Path, server: HubServer) -> None:
    """A post where the schema has the name of a label: its number is told, what it says is not."""
    secret = "I have not slept since spring."
    rows = [{"text": f"Post {number}.", "labels": "calm"} for number in range(20)]
    rows[7]["labels"] = secret
    schema = """---
dataset_info:
  features:
  - {name: text, dtype: string}
  - {name: labels, dtype: {class_label: {names: {'0': calm, '1': tired}}}}
---
"""
    content = {"README.md": schema.encode(), "train.jsonl": lines(rows)}
    with pytest.raises(DataError) as caught:
        corpus_of(tmp_path, server, content, splits=TRAIN_ALONE)
    assert "ValueError after row " in str(caught.value)
    assert secret in str(caught.value.__cause__)
    assert secret not in str(caught.value)


def test_a_column_of_criteria_takes_the_place_of_annotations(tmp_path: Path) -> None:
    """In a CSV table of the user's own, split at `;`."""
    rows = [
        f"p{number},Post number {number}.,{'; '.join(['calm', 'tired'][: number % 3])}"
        for number in range(60)
    ]
    (tmp_path / "posts.csv").write_text("post_id,text,met\n" + "\n".join(rows) + "\n")
    config = CorpusConfig.model_validate(
        {"source": "files", "files": {"posts": str(tmp_path / "posts.csv")}, "columns": {"labels": "met"}}
    )
    corpus = ingest(config, CorpusStore(tmp_path / "corpora"), lambda line: None)
    assert corpus.criteria == ("calm", "tired")
    positive = corpus.data_report()["positive_posts"]
    assert (sum(positive["calm"].values()), sum(positive["tired"].values())) == (40, 20)


def test_labels_that_are_not_published_are_no_labels(tmp_path: Path, server: HubServer) -> None:
    """-1 in the test split of a benchmark is refused with what to do, not read as the last one."""
    hidden = [{"text": f"Post {number}.", "labels": [-1]} for number in range(5)]
    content = {"train.parquet": parquet(posts("train", 40)), "test.parquet": parquet(hidden)}
    with pytest.raises(DataError, match="not published"):
        corpus_of(tmp_path, server, content, splits={"validation": None})
    corpus = corpus_of(tmp_path / "train", server, content, splits=TRAIN_ALONE)
    assert corpus.criteria == ("calm", "tired")


def test_labels_in_a_text_are_split_on_the_hub_as_at_home(tmp_path: Path, server: HubServer) -> None:
    """`calm;tired` of a CSV file."""
    rows = "".join(f"Post {number}.,{'calm;tired' if number % 2 else 'calm'}\n" for number in range(40))
    corpus = corpus_of(tmp_path, server, {"train.csv": f"text,labels\n{rows}".encode()}, splits=TRAIN_ALONE)
    assert corpus.criteria == ("calm", "tired")


@pytest.mark.parametrize(
    ("met", "said"), [('["", "B"]', "empty label"), ('[{"A": 1}]', "not text"), ("[true]", "not text")]
)
def test_a_label_that_is_none_is_told(tmp_path: Path, met: str, said: str) -> None:
    """In a list; it would be a criterion without a name, or with one that Python gave it."""
    (tmp_path / "posts.jsonl").write_text(f'{{"post_id": 1, "text": "a", "met": {met}}}\n')
    config = CorpusConfig.model_validate(
        {"source": "files", "files": {"posts": str(tmp_path / "posts.jsonl")}, "columns": {"labels": "met"}}
    )
    with pytest.raises(DataError, match=said):
        ingest(config, CorpusStore(tmp_path / "corpora"), lambda line: None)
