"""Tables of twenty posts and their annotations."""

from __future__ import annotations

import csv
from pathlib import Path

from thriftune.config import CorpusConfig

POSTS = [["post_id", "text"]] + [[f"p{i}", f"I sleep badly number {i}. The bus was late."] for i in range(20)]
ROWS = [["post_id", "sentence_text", "DSM5_symptom", "status"]] + [
    [f"p{i}", f"I sleep badly number {i}.", "SLEEP" if i % 2 else "MOOD", "1"] for i in range(20)
]


def write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows(rows)


def config_at(folder: Path, **more: object) -> CorpusConfig:
    named = {"posts": str(folder / "posts.csv"), "annotations": str(folder / "annotations.csv")}
    splits = more.pop("splits", None)
    return CorpusConfig.model_validate({"source": "files", "files": {**named, "splits": splits}, **more})
