"""Ingest of corpora of growing size: time, memory, and what it takes after kills.

    python -m benchmarks.ingest [--posts 20000 --posts 200000] [--kills 3] [--words 250]
                                [--folder build/ingest]

Makes a corpus of random words (a CSV of posts, one of annotations), and in a process of its own validates,
splits and aligns it, trains the tokenizer of the small encoder on it and tokenises all three splits. From
outside, the process' memory is measured (resident, what it maps of files apart), and with --kills each of so
many starts is killed with SIGKILL on its way; the corpus and the tokens must then be the same, byte for byte.
"""

from __future__ import annotations

import argparse
import csv
import logging
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import click
import psutil

from benchmarks.rows import Row, at_most, write
from thriftune import files
from thriftune.config import Parameters, parse_parameters
from thriftune.project.parameters import load_parameters

MOST_BYTES = 2 << 30
ROLES = tuple("ABCDEFGHI")
VOCABULARY = 50_000


@dataclass(frozen=True)
class Took:
    """Of all starts of one corpus together."""

    seconds: float
    most_bytes: int
    fingerprints: tuple[str, ...]


def make_tables(folder: Path, posts: int, words: int) -> None:
    """A post has log-normally many words, as often as Zipf has it, in sentences of twelve; every other post
    two annotated sentences, one of them in capitals."""
    chance = random.Random(posts)
    letters = "abcdefghijklmnopqrstuvwxyz"
    lexicon = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(VOCABULARY)]
    often = list(accumulate(1 / rank for rank in range(1, VOCABULARY + 1)))
    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / "posts.csv").open("w", encoding="utf-8", newline="") as texts,
        (folder / "annotations.csv").open("w", encoding="utf-8", newline="") as rows,
    ):
        to_posts, to_rows = csv.writer(texts), csv.writer(rows)
        to_posts.writerow(["post_id", "text"])
        to_rows.writerow(["post_id", "sentence_text", "DSM5_symptom", "status"])
        for number in range(posts):
            length = max(2, min(7000, round(chance.lognormvariate(0, 0.7) * words * 0.78)))
            chosen = chance.choices(lexicon, cum_weights=often, k=length)
            sentences = [" ".join(chosen[at : at + 12]).capitalize() + "." for at in range(0, length, 12)]
            to_posts.writerow([f"p{number}", " ".join(sentences)])
            if number % 2:
                for at, kind in enumerate((str, str.upper)):
                    sentence = sentences[chance.randrange(len(sentences))]
                    status = int(chance.random() < 0.8)
                    to_rows.writerow([f"p{number}", kind(sentence), ROLES[(number // 2 + at) % 9], status])


def settings_of(folder: Path) -> Parameters:
    """The project's own parameters, over the tables of a folder."""
    dumped = load_parameters(Path(__file__).parents[1]).model_dump(mode="json")
    tables = {"posts": f"{folder}/posts.csv", "annotations": f"{folder}/annotations.csv", "splits": None}
    places = {"source": "files", "files": tables, "root": f"{folder}/corpora", "cache": f"{folder}/tokens"}
    return parse_parameters(dumped | {"corpus": dumped["corpus"] | places}, root=folder)


def prepare(folder: Path) -> None:
    """What the measured process does."""
    from thriftune.corpus.ingestion import ingest
    from thriftune.corpus.store import CorpusStore
    from thriftune.corpus.tokens import TokenisedStore
    from thriftune.corpus.types import SPLITS
    from thriftune.training.inputs import encoder_for, layout_of

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    settings = settings_of(folder)
    corpus = ingest(settings.corpus, CorpusStore(folder / "corpora"), logging.info)
    encoder = encoder_for(settings, corpus)
    store = TokenisedStore(folder / "tokens")
    for split in SPLITS:
        store.get(corpus, split, encoder.tokenizer, encoder.fingerprint, layout_of(settings, corpus.criteria))


def measure(folder: Path, kill_after: Sequence[float] = ()) -> Took:
    """Run it, killed so many seconds after its starts; it must end well at last."""
    for name in ("corpora", "tokens"):
        shutil.rmtree(folder / name, ignore_errors=True)
    seconds, most = 0.0, 0
    for limit in (*kill_after, float("inf")):
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.ingest", "--prepare", str(folder)])
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                memory: Any = watched.memory_info()
                most = max(most, memory.rss - memory.shared)
            except psutil.NoSuchProcess:
                break
            if time.monotonic() - began > limit:
                process.send_signal(signal.SIGKILL)
            time.sleep(0.05)
        seconds += time.monotonic() - began
        if process.wait() not in (0, -signal.SIGKILL):
            raise SystemExit("it did not end well")
    made = sorted([*folder.glob("corpora/corpus_*/*"), *folder.glob("tokens/tokens_*/*.arrow")])
    return Took(seconds, most, tuple(f"{path.name} {files.sha256_file(path)}" for path in made))


def main() -> None:
    """A row a size, into build/bench.json; exit code 1 where memory is above 2 GiB, time is not linear, or a
    kill changed a byte."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--posts", type=int, action="append")
    parser.add_argument("--words", type=int, default=250)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("build/ingest"))
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.prepare is not None:
        prepare(given.prepare)
        return
    rows: list[Row] = []
    first: float | None = None
    same = True
    for posts in given.posts or [20_000, 200_000]:
        folder = given.folder / str(posts)
        if not (folder / "annotations.csv").exists():
            make_tables(folder, posts, given.words)
        size = sum((folder / name).stat().st_size for name in ("posts.csv", "annotations.csv"))
        took = measure(folder)
        click.echo(
            f"{posts:,} posts, {size / 1e6:,.0f} MB: {took.seconds:.0f} s, "
            f"{posts / took.seconds:,.0f} posts/s, at most {took.most_bytes / 2**20:,.0f} MiB"
        )
        rows.append(at_most(f"ingest_memory/{posts}", took.most_bytes, "bytes", MOST_BYTES, 1.0))
        first = first or took.seconds / posts
        rows.append(at_most(f"ingest_time/{posts}", took.seconds / posts * 1e3, "ms/post", first * 1e3, 1.3))
        if given.kills:
            again = measure(folder, [took.seconds / (given.kills + 1)] * given.kills)
            same = same and again.fingerprints == took.fingerprints
            click.echo(
                f"killed {given.kills} times: {again.seconds:.0f} s, "
                + ("the same bytes" if same else "OTHER BYTES")
            )
    write(rows)
    raise SystemExit(0 if same and all(row.ok is not False for row in rows) else 1)


if __name__ == "__main__":
    main()
