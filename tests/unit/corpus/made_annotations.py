"""Posts and annotated sentences of which it is known where they came from, put in other words by degrees."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

FUNCTION = "i the a and to of it is in my was that but so not for on me this have with be at do"
SYLLABLES = "ka lo mi ru se ta no vi pe du ga fi bo ne zu ri ma"


@dataclass(frozen=True)
class Annotated:
    """A sentence, the kind of change it went through, the candidates of its post that it came from."""

    sentence: str
    kind: str
    truth: frozenset[int]
    share: float
    """Of its words, how many stand in its place."""


class Maker:
    """Made text with a vocabulary as English has it: few words most of the time, many seldom."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.content = [self._made_up() for _ in range(4000)]

    def _made_up(self) -> str:
        return "".join(self.chance.choice(SYLLABLES.split()) for _ in range(self.chance.randint(2, 4)))

    def word(self) -> str:
        if self.chance.random() < 0.45:
            return self.chance.choice(FUNCTION.split())
        return self.content[min(int(self.chance.paretovariate(0.6)) * 3 + self.chance.randrange(40), 3999)]

    def sentence(self) -> list[str]:
        """Five to twenty-two words."""
        return [self.word() for _ in range(self.chance.randint(5, 22))]

    def post(self) -> list[list[str]]:
        """Three to twenty-five sentences, none of which is like another."""
        return [self.sentence() for _ in range(self.chance.randint(3, 25))]

    def reworded(self, words: list[str], share: float) -> list[str]:
        """Some words replaced, so that at least `share` of them is left."""
        kept = math.ceil(share * len(words))
        gone = set(self.chance.sample(range(len(words)), len(words) - kept))
        return [self.word() + "x" if at in gone else word for at, word in enumerate(words)]


def written(words: list[str]) -> str:
    """As a sentence stands in a post."""
    return " ".join(words).capitalize() + "."


CHANGES: dict[str, Callable[[Maker, list[str]], str]] = {
    "exact": lambda maker, words: written(words),
    "white space": lambda maker, words: "  ".join(written(words).split()) + " \n",
    "case": lambda maker, words: written(words).upper(),
    "quotes": lambda maker, words: f"\u201c{written(words)}\u201d",
    "no full stop": lambda maker, words: written(words)[:-1],
    "a part": lambda maker, words: " ".join(words[: max(4, 2 * len(words) // 3)]),
    "other order": lambda maker, words: written(words[len(words) // 2 :] + words[: len(words) // 2]),
    **{
        f"{round(100 * share)} % of the words": (
            lambda maker, words, share=share: written(maker.reworded(words, share))
        )
        for share in (0.9, 0.8, 0.7)
    },
}
BELOW = (0.6, 0.5, 0.3)
"""Shares of words that need not be found, but must not be found in a wrong place."""


def made(seed: int, posts: int) -> Iterator[tuple[str, list[Annotated]]]:
    """Posts with a sentence of every kind of change, sentences that are not there, and repeated ones."""
    maker = Maker(seed)
    for _ in range(posts):
        sentences = maker.post()
        repeated = maker.chance.random() < 0.2
        if repeated:
            sentences.append(list(sentences[0]))
        annotated = []
        for kind, change in CHANGES.items():
            at = maker.chance.randrange(len(sentences))
            same = {i for i, words in enumerate(sentences) if words == sentences[at]}
            annotated.append(Annotated(change(maker, sentences[at]), kind, frozenset(same), 1.0))
        for share in BELOW:
            at = maker.chance.randrange(len(sentences))
            same = {i for i, words in enumerate(sentences) if words == sentences[at]}
            reworded = written(maker.reworded(sentences[at], share))
            annotated.append(Annotated(reworded, "below", frozenset(same), share))
        annotated += [Annotated(written(maker.sentence()), "absent", frozenset(), 0.0) for _ in range(2)]
        yield " ".join(written(words) for words in sentences), annotated
