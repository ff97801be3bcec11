"""A corpus with some criteria made rare: most posts lose the sentences that are their evidence.

    python -m benchmarks.sparse --posts posts.csv --annotations annotations.csv \
                                --rare OBJECTIVE --rare RESULT --share 0.05 build/sparse

What is left is what an annotator would have said of the shorter posts; some of their sentences get an
explicit negative (status 0) for a criterion that the post does not meet.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import click
import pandas as pd

NEGATIVES = 0.2
"""Share of the rows to which one of status 0 is added."""


def sparse(
    posts: pd.DataFrame, annotations: pd.DataFrame, rare: set[str], share: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of posts and annotations in the home layout, in which a share of the posts that met a criterion
    of `rare` still does."""
    chance = random.Random(seed)
    by_post = dict(iter(annotations.groupby("post_id", sort=False)))
    every = sorted(set(annotations["DSM5_symptom"]))
    if unknown := rare - set(every):
        raise click.ClickException(f"no row has {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    texts, kept = [], []
    for post_id, text in posts[["post_id", "text"]].itertuples(index=False):
        rows = by_post.get(post_id, annotations.iloc[:0])
        gone = {name for name in sorted(rare) if chance.random() >= share}
        lost = set(rows.loc[rows["DSM5_symptom"].isin(gone), "sentence_text"])
        left = rows[~rows["sentence_text"].isin(lost)]
        for sentence in sorted(lost, key=len, reverse=True):
            text = text.replace(sentence, "")
        if left.empty and not rows.empty:
            continue
        texts.append({"post_id": post_id, "text": " ".join(text.split())})
        kept += left.to_dict("records")
        unmet = [name for name in every if name not in set(left["DSM5_symptom"])]
        for row in left.to_dict("records"):
            if unmet and chance.random() < NEGATIVES:
                kept.append(row | {"DSM5_symptom": chance.choice(unmet), "status": 0})
    return pd.DataFrame(texts), pd.DataFrame(kept)


def main() -> None:
    """Write both tables; a line a criterion of how many posts meet it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--posts", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--rare", action="append", required=True)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    tables = (pd.read_csv(given.posts, dtype=str), pd.read_csv(given.annotations, dtype=str))
    posts, annotations = sparse(*tables, set(given.rare), given.share, given.seed)
    given.folder.mkdir(parents=True, exist_ok=True)
    posts.to_csv(given.folder / "posts.csv", index=False)
    annotations.to_csv(given.folder / "annotations.csv", index=False)
    met = annotations[annotations["status"].astype(int) == 1]
    for name, own in met.groupby("DSM5_symptom"):
        click.echo(f"{name}: {own['post_id'].nunique()} of {len(posts)} posts")


if __name__ == "__main__":
    main()
