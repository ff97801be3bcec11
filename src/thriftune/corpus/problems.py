"""Collects what is wrong with the user's tables, so that all of it is told at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from thriftune.errors import DataError

SHOWN_PER_KIND = 20


@dataclass
class Problems:
    """Problems by kind, in the order of their discovery."""

    counts: Counter[str] = field(default_factory=Counter)
    shown: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, place: str) -> None:
        """One more problem of a kind (a sentence saying what was expected) at a place."""
        self.counts[kind] += 1
        places = self.shown.setdefault(kind, [])
        if len(places) < SHOWN_PER_KIND:
            places.append(place)

    def raise_if_any(self) -> None:
        """DataError with the first SHOWN_PER_KIND of each kind and the number of the rest."""
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
