"""Collects what is wrong with the user's tables, so that all of it is told at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from thriftune.errors import DataError

SHOWN_PER_KIND = 20


@dataclass
class Problems:
    """Problems by kind, in the order of their discovery."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, place: str) -> None:
        """One more problem of a kind (a sentence saying what was expected) at a place."""
        self.found.setdefault(kind, []).append(place)

    def raise_if_any(self) -> None:
        """DataError with the first SHOWN_PER_KIND of each kind and the number of the rest."""
        if not self.found:
            return
        lines: list[str] = []
        for kind, places in self.found.items():
            lines.append(f"  - {kind} ({len(places)}):")
            lines += [f"      {place}" for place in places[:SHOWN_PER_KIND]]
            if len(places) > SHOWN_PER_KIND:
                lines.append(f"      ... and {len(places) - SHOWN_PER_KIND} more")
        raise DataError(
            "the corpus cannot be used as it is:\n" + "\n".join(lines),
            remedy="correct the rows named above and run the same command again; nothing was written.",
        )
