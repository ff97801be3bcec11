"""Posts that the report quotes: for each criterion one with evidence found, missed, and marked by mistake."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["found", "missed", "extra"]
KINDS: tuple[Kind, ...] = ("missed", "extra", "found")
"""What tells a reader most comes first."""
AROUND, LONGEST = 240, 1500
"""Characters on either side of the evidence; of a quotation."""
Span = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """A stretch of a post's text."""

    text: str
    kind: Kind | None = None
    """Of evidence; None beside it."""


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
    predictions: Iterable[Mapping[str, Any]],
    criteria: Sequence[str],
    each: int,
) -> list[Example]:
    """The first `each` posts of every criterion and kind, in the split's order: nobody chose them.

    posts: (id, text); predictions: lines of predictions.jsonl, of the same posts in the same order
    (ValueError where they are others).
    """
    found: dict[tuple[str, Kind], list[Example]] = {(name, kind): [] for name in criteria for kind in KINDS}
    for (post_id, text), line in zip(posts, predictions, strict=True):
        if line["post_id"] != post_id:
            raise ValueError(f"predictions of {line['post_id']} where those of {post_id} should be")
        for name in {span["criterion"] for key in ("evidence", "evidence_true") for span in line[key]}:
            marks = marked(_spans(line["evidence_true"], name), _spans(line["evidence"], name))
            for kind in KINDS:
                own = found.get((name, kind), [])
                if len(own) < each and any(k == kind for _, k in marks):
                    own.append(Example(name, kind, post_id, _quote(text, marks, kind)))
    return [example for examples in found.values() for example in examples]


def marked(true: Sequence[Span], predicted: Sequence[Span]) -> list[tuple[Span, Kind]]:
    """Annotated evidence is found where a prediction shares a character with it, else missed; a prediction
    that shares none with any is extra."""
    marks: list[tuple[Span, Kind]] = [
        (span, "found" if any(_meet(span, other) for other in predicted) else "missed") for span in true
    ]
    marks += [(span, "extra") for span in predicted if not any(_meet(span, other) for other in true)]
    return sorted(marks)


def _meet(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _spans(rows: Iterable[Mapping[str, Any]], criterion: str) -> list[Span]:
    return [(row["start"], row["end"]) for row in rows if row["criterion"] == criterion]


def _quote(text: str, marks: Sequence[tuple[Span, Kind]], kind: Kind) -> tuple[Piece, ...]:
    """The text about the first mark of a kind, all marks in it."""
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
    """The end of the word before a place, so that none is cut."""
    if at in (0, len(text)):
        return at
    space = text.rfind(" ", max(0, at - 40), at)
    return at if space < 0 else space
