"""Problems of the user's tables, collected so that one message reports them all."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from thriftune.errors import DataError

SHOWN_PER_KIND = 20
LONGEST_NAME, MOST_WORDS = 40, 3
_SENTENCE_END = re.compile(r"[.!?…。！？](?:\s|$)|\n")


def quoted(cell: str) -> str:
    """Return a cell as a message may show it, or only its length if it may be a post's text.

    Args:
        cell: An id, a label or a column's name; text is possible if the user named the wrong column.
    """
    is_name = len(cell) <= LONGEST_NAME and len(cell.split()) <= MOST_WORDS
    return repr(cell) if is_name and not _SENTENCE_END.search(cell) else f"a text of {len(cell)} characters"


@dataclass
class Problems:
    """Problems by kind, in the order of their discovery."""

    counts: Counter[str] = field(default_factory=Counter)
    shown: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, place: str) -> None:
        """Note a problem.

        Args:
            kind: A sentence that says what is wrong and what was expected.
            place: File and row, as a message shows them.
        """
        self.counts[kind] += 1
        places = self.shown.setdefault(kind, [])
        if len(places) < SHOWN_PER_KIND:
            places.append(place)

    def raise_if_any(self) -> None:
        """Raise if there are problems.

        Raises:
            DataError: With the first SHOWN_PER_KIND of each kind and the number of the rest.
        """
        if not self.counts:
            return
        lines: list[str] = []
        for kind, places in self.shown.items():
            lines.append(f"  - {kind} ({self.counts[kind]}):")
            lines += [f"      {place}" for place in places]
            if self.counts[kind] > len(places):
                lines.append(f"      ... and {self.counts[kind] - len(places)} more")
        raise DataError(
            "the corpus cannot be used as it is:\n" + "\n".join(lines),
            remedy="correct the rows named above and run the same command again; nothing was written.",
        )
