"""What a hub of ours serves: a data set in the layout and proportions of ReDSM5, with made text, and small
models of any architecture."""

from __future__ import annotations

import csv
import io
import random
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

POSTS = 1484
POSTS_OF = {
    "DEPRESSED_MOOD": 328,
    "WORTHLESSNESS": 311,
    "SUICIDAL_THOUGHTS": 165,
    "ANHEDONIA": 124,
    "FATIGUE": 124,
    "SLEEP_ISSUES": 102,
    "COGNITIVE_ISSUES": 59,
    "APPETITE_CHANGE": 44,
    "PSYCHOMOTOR": 35,
}
SPECIAL, WITHOUT_CRITERION, WITHOUT_ROW = 92, 392, 7
ROWS_MET, ROWS_UNMET = 1631, 427
COLUMNS = ("post_id", "sentence_id", "sentence_text", "DSM5_symptom", "status", "explanation")
_SAYING = {
    "DEPRESSED_MOOD": "I feel sad and empty",
    "WORTHLESSNESS": "I am worth nothing to anybody",
    "SUICIDAL_THOUGHTS": "I think about not being here any more",
    "ANHEDONIA": "Nothing that I loved is any fun",
    "FATIGUE": "I am tired before the day begins",
    "SLEEP_ISSUES": "I lie awake until four",
    "COGNITIVE_ISSUES": "I cannot keep my mind on a page",
    "APPETITE_CHANGE": "Food has no taste and I skip meals",
    "PSYCHOMOTOR": "I move as if through water",
    "SPECIAL_CASE": "My doctor wrote it down",
}
_OTHER = (
    "We|My sister|The neighbours|Some people at work|They",
    "walked to|talked about|painted|forgot",
    ("the market|an old film|the garden|last summer|the car"),
)


def redsm5(seed: int = 0) -> dict[str, bytes]:
    """Both tables, with the columns, the numbers of posts and rows and the labels of the real ones."""
    chance = random.Random(seed)
    ids = [f"post_{number:04d}" for number in range(POSTS)]
    chance.shuffle(ids)
    met = {post: set[str]() for post in ids}
    labels = [label for label, count in POSTS_OF.items() for _ in range(count)]
    chance.shuffle(labels)
    ill = ids[: POSTS - WITHOUT_CRITERION]
    for number, label in enumerate(labels):
        post = ill[number % len(ill)]
        while label in met[post]:
            post = chance.choice(ill)
        met[post].add(label)
    pairs = [(post, label) for post in ill for label in sorted(met[post])]
    rows_met = [*pairs, *((post, "SPECIAL_CASE") for post in chance.sample(ill, SPECIAL))]
    rows_met += chance.choices(pairs, k=ROWS_MET - len(rows_met))
    well = ids[POSTS - WITHOUT_CRITERION : POSTS - WITHOUT_ROW]
    rows_unmet = [(post, chance.choice(list(POSTS_OF))) for post in well]
    rows_unmet += [
        (post, chance.choice([label for label in POSTS_OF if label not in met[post]]))
        for post in chance.choices(ill, k=ROWS_UNMET - len(rows_unmet))
    ]
    sentences: dict[str, list[str]] = {post: [] for post in ids}
    rows = []
    for status, of_status in ((1, rows_met), (0, rows_unmet)):
        for post, label in of_status:
            tail = f"and it was week {chance.randrange(1000)}."
            text = f"{_SAYING[label]} {tail}" if status else f"{_other(chance)} {tail}"
            sentences[post].append(text)
            rows.append((post, f"{post}_{len(sentences[post])}", text, label, str(status), "made"))
    posts = []
    for post in sorted(ids):
        told = sentences[post] + [f"{_other(chance)}." for _ in range(chance.randint(1, 12))]
        chance.shuffle(told)
        posts.append((post, " ".join(told)))
    chance.shuffle(rows)
    return {
        "redsm5_posts.csv": _csv(("post_id", "text"), posts),
        "redsm5_annotations.csv": _csv(COLUMNS, rows),
        "README.md": b"---\nlicense: other\n---\nMade text.\n",
    }


def _other(chance: random.Random) -> str:
    return " ".join(chance.choice(words.split("|")) for words in _OTHER)


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def saved(*parts: Any) -> dict[str, bytes]:
    """The files that transformers' save_pretrained makes of a model and a tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        for part in parts:
            part.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def byte_level(texts: Sequence[str], size: int = 600) -> Any:
    """A byte-level tokenizer with RoBERTa's special tokens."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizer

    tokenizer = ByteLevelBPETokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(texts, vocab_size=size, special_tokens=specials, show_progress=False)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_model(folder)
        return RobertaTokenizer(f"{folder}/vocab.json", f"{folder}/merges.txt", model_max_length=512)


def roberta(texts: Sequence[str]) -> dict[str, bytes]:
    """A small RoBERTa with 512 tokens a window."""
    import torch
    from transformers import RobertaConfig, RobertaModel

    tokenizer = byte_level(texts)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return saved(RobertaModel(config), tokenizer)
