"""Generate the shipped sample corpus: synthetic posts in the ReDSM5 layout.

The text is for trying out the software and has no clinical use. Whether a sentence states a criterion depends
on who it is about, on negation and on tense. The same words appear in evidence, in explicit negatives and in
distractors, so a bag of words cannot separate them.

`python tools/sample.py` (`make sample`) writes the same bytes each time.
"""

from __future__ import annotations

import csv
import io
import random
import sys
from dataclasses import dataclass
from pathlib import Path

SEED = 20261124
POSTS = 960
SAMPLE = Path(__file__).parents[1] / "src" / "thriftune" / "corpus" / "sample_data"

CRITERIA = (
    "DEPRESSED_MOOD",
    "ANHEDONIA",
    "APPETITE_CHANGE",
    "SLEEP_ISSUES",
    "PSYCHOMOTOR",
    "FATIGUE",
    "WORTHLESSNESS",
    "COGNITIVE_ISSUES",
    "SUICIDAL_THOUGHTS",
)
SPECIAL = "SPECIAL_CASE"

# Clauses by criterion as (first person, third person, negated first person).
_CLAUSES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "DEPRESSED_MOOD": (
        ("feel sad", "feels sad", "do not feel sad"),
        ("cry without a reason", "cries without a reason", "do not cry without a reason"),
        ("feel empty inside", "feels empty inside", "do not feel empty inside"),
        ("feel hopeless", "feels hopeless", "do not feel hopeless"),
    ),
    "ANHEDONIA": (
        ("enjoy nothing", "enjoys nothing", "do not say that i enjoy nothing"),
        ("lost interest in music", "lost interest in music", "have not lost interest in music"),
        ("find hobbies boring", "finds hobbies boring", "do not find hobbies boring"),
        ("avoid friends out of boredom", "avoids friends out of boredom", "do not avoid friends"),
    ),
    "APPETITE_CHANGE": (
        ("skip meals", "skips meals", "do not skip meals"),
        ("have no appetite", "has no appetite", "do not lack appetite"),
        ("eat far too much", "eats far too much", "do not eat far too much"),
        ("gained a lot of weight", "gained a lot of weight", "have not gained weight"),
    ),
    "SLEEP_ISSUES": (
        ("lie awake at night", "lies awake at night", "do not lie awake at night"),
        ("wake up at three", "wakes up at three", "do not wake up at three"),
        ("sleep twelve hours", "sleeps twelve hours", "do not sleep twelve hours"),
        ("have insomnia", "has insomnia", "do not have insomnia"),
    ),
    "PSYCHOMOTOR": (
        ("pace around the room", "paces around the room", "do not pace around the room"),
        ("move in slow motion", "moves in slow motion", "do not move in slow motion"),
        ("fidget with my hands", "fidgets with both hands", "do not fidget with my hands"),
        ("speak very slowly", "speaks very slowly", "do not speak very slowly"),
    ),
    "FATIGUE": (
        ("have no energy", "has no energy", "do not lack energy"),
        ("feel tired all day", "feels tired all day", "do not feel tired all day"),
        (
            "feel worn out after small chores",
            "feels worn out after small chores",
            "do not feel worn out after small chores",
        ),
        ("drag myself through work", "struggles through work", "do not drag myself through work"),
    ),
    "WORTHLESSNESS": (
        ("feel like a failure", "feels like a failure", "do not feel like a failure"),
        (
            "blame myself for everything",
            "takes the blame for everything",
            "do not blame myself for everything",
        ),
        ("feel worthless", "feels worthless", "do not feel worthless"),
        (
            "feel guilty about the past",
            "feels guilty about the past",
            "do not feel guilty about the past",
        ),
    ),
    "COGNITIVE_ISSUES": (
        (
            "cannot concentrate on a page",
            "cannot concentrate on a page",
            "do not struggle to concentrate on a page",
        ),
        ("forget what people say", "forgets what people say", "do not forget what people say"),
        (
            "struggle to decide anything",
            "struggles to decide anything",
            "do not struggle to decide anything",
        ),
        (
            "lose the thread in meetings",
            "loses the thread in meetings",
            "do not lose the thread in meetings",
        ),
    ),
    "SUICIDAL_THOUGHTS": (
        (
            "think everyone would be better off without me",
            "thinks everyone would be better off alone",
            "do not think everyone would be better off without me",
        ),
        ("wish not to wake up", "wishes not to wake up", "do not wish not to wake up"),
        ("see no point in living", "sees no point in living", "do not see life as pointless"),
        (
            "think about not being here anymore",
            "thinks about not being here anymore",
            "do not think about not being here anymore",
        ),
    ),
}
_OFTEN = ("often", "always", "mostly", "just", "still", "once more")
_SINCE = (
    "these days",
    "since spring",
    "for weeks now",
    "lately",
    "every single day",
    "for a month",
    "more than before",
    "and it does not stop",
)
_LEAD = (
    "",
    "",
    "",
    "honestly ",
    "to be open, ",
    "the truth is that ",
    "it is hard to say but ",
    "and ",
)
_OTHERS = (
    "my roommate",
    "my brother",
    "my aunt",
    "the man in the show",
    "my old neighbour",
    "a friend from work",
    "my cousin",
    "the girl in the novel",
)
_PAST = (
    "years ago",
    "back in school",
    "before i moved here",
    "when i was a child",
    "in my first job",
)
_NEUTRAL = (
    "the bus was late this morning",
    "my laptop battery is dead again",
    "we painted the kitchen in a pale green",
    "the weather turned cold over night",
    "i started a new job in march",
    "my sister came over for the weekend",
    "there is a park behind the house",
    "the meeting was moved to friday",
    "i have read the rules of this group",
    "thanks for reading this far",
    "we adopted a small grey cat",
    "the film had a slow start and a sad end",
    "i slept like a log on the train",
    "the printer is worthless and always tired of paper",
    "my phone runs out of energy by noon",
    "the match kept everyone awake",
    "i made soup and skipped the starter",
    "the song about hopeless love was on again",
    "our teacher talked about weight and mass",
    "the clock moves in slow motion on mondays",
    "i walk to work along the river",
    "it took three hours to fix the sink",
    "nobody told me how long the course is",
    "i wonder what others here think about it",
)
_SPECIAL_LINES = (
    "my doctor asked me to write this down",
    "i take part in a study at the clinic",
    "my therapist suggested this group",
    "this is a second account of mine",
)
_SYNONYMS = {
    "often": "frequently",
    "always": "all the time",
    "mostly": "most of the time",
    "lately": "recently",
    "still": "even now",
    "nothing": "not a thing",
    "room": "flat",
    "everyone": "everybody",
    "everything": "all of it",
}


@dataclass(frozen=True)
class _Line:
    text: str
    criterion: str = ""
    status: int = 0
    """Only with a criterion: 1 evidence, 0 explicit negative."""


def generate(seed: int = SEED) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Return the rows of the posts table and of the annotations table.

    Args:
        seed: Decides the text; the shipped sample has the default.

    Returns:
        Posts, then annotations, both in the order of the posts.
    """
    rng = random.Random(seed)
    posts: list[dict[str, str]] = []
    annotations: list[dict[str, str]] = []
    seen: set[str] = set()
    while len(posts) < POSTS:
        lines = _post_lines(rng)
        text = _join(rng, [line.text for line in lines])
        if text.casefold() in seen:
            continue
        seen.add(text.casefold())
        post_id = f"sample_{len(posts):04d}"
        posts.append({"post_id": post_id, "text": text})
        annotations += _rows(rng, post_id, lines)
    return posts, annotations


def _post_lines(rng: random.Random) -> list[_Line]:
    count = _length(rng)
    stated = [] if rng.random() < 0.25 else rng.sample(CRITERIA, rng.choice((1, 1, 1, 2, 2, 3)))
    stated = stated[: max(1, count // 2)] if count > 1 else stated[:1]
    lines = [_evidence(rng, criterion) for criterion in stated]
    if stated and count >= 8 and rng.random() < 0.4:
        lines.append(_evidence(rng, rng.choice(stated)))
    free = [criterion for criterion in CRITERIA if criterion not in stated]
    if len(lines) < count and rng.random() < 0.35:
        lines.append(_negative(rng, free.pop(rng.randrange(len(free)))))
    while len(lines) < count and rng.random() < 0.75 and len(lines) < count * 0.7:
        lines.append(_distractor(rng, rng.choice(CRITERIA)))
    if len(lines) < count and rng.random() < 0.08:
        lines.append(_Line(_finish(rng, rng.choice(_SPECIAL_LINES)), SPECIAL, 1))
    while len(lines) < count:
        lines.append(_Line(_finish(rng, rng.choice(_NEUTRAL))))
    rng.shuffle(lines)
    return lines


def _length(rng: random.Random) -> int:
    share = rng.random()
    if share < 0.05:
        return 1
    if share < 0.93:
        return rng.randint(3, 12)
    return rng.randint(13, 40)


def _evidence(rng: random.Random, criterion: str) -> _Line:
    clause = rng.choice(_CLAUSES[criterion])[0]
    often = rng.choice((*_OFTEN, "", "")) + " "
    words = f"{rng.choice(_LEAD)}i {often}{clause} {rng.choice(_SINCE)}"
    return _Line(_finish(rng, words), criterion, 1)


def _negative(rng: random.Random, criterion: str) -> _Line:
    clause = rng.choice(_CLAUSES[criterion])[2]
    return _Line(_finish(rng, f"{rng.choice(_LEAD)}i {clause} {rng.choice(_SINCE[:5])}"), criterion, 0)


def _distractor(rng: random.Random, criterion: str) -> _Line:
    first, third, _ = rng.choice(_CLAUSES[criterion])
    kind = rng.randrange(3)
    if kind == 0:
        words = f"{rng.choice(_LEAD)}{rng.choice(_OTHERS)} {third} {rng.choice(_SINCE)}"
    elif kind == 1:
        words = f"{rng.choice(_PAST)} i used to {first}, that is over"
    else:
        words = f"{rng.choice(_OTHERS)} asked whether i {first}"
    return _Line(_finish(rng, words))


def _finish(rng: random.Random, words: str) -> str:
    words = " ".join(words.split())
    return words[0].upper() + words[1:] + rng.choice("....!")


def _join(rng: random.Random, sentences: list[str]) -> str:
    text = sentences[0]
    for sentence in sentences[1:]:
        text += ("\n\n" if rng.random() < 0.1 else " ") + sentence
    return text


def _rows(rng: random.Random, post_id: str, lines: list[_Line]) -> list[dict[str, str]]:
    rows = []
    for number, line in enumerate(lines):
        if not line.criterion:
            continue
        rows.append(
            {
                "post_id": post_id,
                "sentence_id": f"{post_id}_{number}",
                "sentence_text": _disturb(rng, line.text),
                "DSM5_symptom": line.criterion,
                "status": str(line.status),
                "explanation": "synthetic",
            }
        )
    return rows


def _disturb(rng: random.Random, sentence: str) -> str:
    """The sentence as an annotator may have copied it: mostly exact, some re-cased or reworded."""
    share = rng.random()
    if share < 0.04:
        return sentence.lower()
    if share < 0.07:
        return sentence.upper()
    if share < 0.12:
        words = [_SYNONYMS.get(word, word) for word in sentence.rstrip(".!").split()]
        return " ".join(words)
    return sentence


def render(rows: list[dict[str, str]]) -> bytes:
    """Return a table as CSV: UTF-8, with a header and line feeds.

    Args:
        rows: Cells by column; all rows have the columns of the first.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


def main(folder: Path = SAMPLE) -> None:
    """Write both tables of the sample.

    Args:
        folder: Where to; it is created if missing.
    """
    posts, annotations = generate()
    folder.mkdir(exist_ok=True)
    (folder / "posts.csv").write_bytes(render(posts))
    (folder / "annotations.csv").write_bytes(render(annotations))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
