"""Posts that the report quotes: evidence of each criterion that was found, missed, or marked by mistake."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from thriftune.evaluation.predictions import AnnotatedSpan, PredictionLine

Kind = Literal["found", "missed", "extra"]
KINDS: tuple[Kind, ...] = ("missed", "extra", "found")
"""What is most useful to a reader comes first."""
AROUND, LONGEST = 240, 1500
"""Characters on either side of the evidence; most characters of a quotation."""
Span = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """A stretch of a post's text."""

    text: str
    kind: Kind | None = None
    """How the evidence was predicted; None: the text is not evidence."""


@dataclass(frozen=True)
class Example:
    """A quotation with the evidence of one criterion."""

    criterion: str
    kind: Kind
    """What it is an example of."""
    post_id: str
    pieces: tuple[Piece, ...]


def pick(
    posts: Iterable[tuple[str, str]],
    predictions: Iterable[PredictionLine],
    criteria: Sequence[str],
    each: int,
) -> list[Example]:
    """Return the first posts of every criterion and kind, in the split's order: nobody chose them.

    Args:
        posts: Id and text of each post of the split.
        predictions: Lines of predictions.jsonl, of the same posts in the same order.
        criteria: Names of the criteria, in the order of the examples.
        each: Posts of every criterion and kind; fewer if there are not as many.

    Raises:
        ValueError: The predictions are those of other posts.
    """
    found: dict[tuple[str, Kind], list[Example]] = {(name, kind): [] for name in criteria for kind in KINDS}
    for (post_id, text), line in zip(posts, predictions, strict=True):
        if line["post_id"] != post_id:
            raise ValueError(f"predictions of {line['post_id']} where those of {post_id} should be")
        spans = [*line["evidence"], *line["evidence_true"]]
        for name in {span["criterion"] for span in spans}:
            marks = mark(_spans(line["evidence_true"], name), _spans(line["evidence"], name))
            for kind in KINDS:
                own = found.get((name, kind), [])
                if len(own) < each and any(k == kind for _, k in marks):
                    own.append(Example(name, kind, post_id, _quote(text, marks, kind)))
    return [example for examples in found.values() for example in examples]


def mark(true: Sequence[Span], predicted: Sequence[Span]) -> list[tuple[Span, Kind]]:
    """Return the spans of a post with their kinds, in order.

    Annotated evidence is found if a prediction shares a character with it, else missed; a prediction that
    shares none with any is extra.

    Args:
        true: First character, and the one after the last, of annotated evidence.
        predicted: The same of predicted evidence.
    """
    marks: list[tuple[Span, Kind]] = [
        (span, "found" if any(_meet(span, other) for other in predicted) else "missed") for span in true
    ]
    marks += [(span, "extra") for span in predicted if not any(_meet(span, other) for other in true)]
    return sorted(marks)


def _meet(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _spans(rows: Iterable[AnnotatedSpan], criterion: str) -> list[Span]:
    return [(row["start"], row["end"]) for row in rows if row["criterion"] == criterion]


def _quote(text: str, marks: Sequence[tuple[Span, Kind]], kind: Kind) -> tuple[Piece, ...]:
    """Return the text around the first mark of a kind, with all marks in it."""
    first = next(span for span, own in marks if own == kind)
    start = _word(text, max(0, first[0] - AROUND))
    end = _word(text, min(len(text), max(first[1], first[0] + AROUND) + AROUND, start + LONGEST))
    pieces, at = [Piece("…" if start else "")], start
    for (low, high), own in marks:
        low, high = max(low, at), min(high, end)
        if low < high:
            pieces += [Piece(text[at:low]), Piece(text[low:high], own)]
            at = high
    pieces += [Piece(text[at:end]), Piece("…" if end < len(text) else "")]
    return tuple(piece for piece in pieces if piece.text)


def _word(text: str, at: int) -> int:
    """Return the end of the word before a position, so that no word is cut."""
    if at in (0, len(text)):
        return at
    space = text.rfind(" ", max(0, at - 40), at)
    return at if space < 0 else space
