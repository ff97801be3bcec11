"""An exported dual agent: from texts to criteria with probabilities and evidence with character ranges.

The package needs only torch, transformers and safetensors, because an export copies it as `dual_agent/`
beside the weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self, TypedDict

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from .agents import Agents, Outputs, Shape
from .batch import Collator, TokenisedPost
from .sentences import split_sentences
from .spans import EvidenceSpan, find_spans
from .windows import Layout, window_cutter, window_tails

HEADS, FACTS = "heads.safetensors", "dual_agent.json"


class ExportFacts(TypedDict):
    """The part of dual_agent.json that prediction needs."""

    criteria: list[str]
    shape: dict[str, str | bool | int | None]
    """The fields of Shape."""
    layout: dict[str, int | bool | list[str]]
    """The fields of Layout."""
    encoder_arguments: dict[str, str | bool]
    """Arguments of transformers' from_pretrained."""


class CriterionResult(TypedDict):
    """The decision on one criterion."""

    probability: float
    threshold: float
    met: bool


class EvidenceResult(TypedDict):
    """One span of a text that is evidence for a criterion."""

    criterion: str
    start: int
    end: int
    """Exclusive."""
    score: float
    text: str


class Prediction(TypedDict, total=False):
    """The prediction for one text; a key is missing if its agent was not trained."""

    criteria: dict[str, CriterionResult]
    evidence: list[EvidenceResult]
    """In the order of the text."""


class Predictor:
    """An exported model, ready to predict; `Predictor.load` makes one.

    Args:
        tokenizer: A fast tokenizer of transformers.
        agents: The agents with their weights.
        facts: What the export recorded of them.
    """

    def __init__(self, tokenizer: Any, agents: Agents, facts: ExportFacts) -> None:
        self._agents = agents.eval()
        self.criteria: tuple[str, ...] = tuple(facts["criteria"])
        layout = Layout(**facts["layout"])  # type: ignore[arg-type]
        self._cut = window_cutter(tokenizer, layout)
        pad = 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
        self._collator = Collator(len(self.criteria), pad, window_tails(tokenizer, layout))

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> Self:
        """Return the model of an exported folder, ready to predict.

        Args:
            folder: The folder that the export has written.
            device: Any device of torch, for example `cuda:0`.
        """
        folder = Path(folder)
        facts: ExportFacts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            encoder = AutoModel.from_pretrained(folder, **facts["encoder_arguments"])
        finally:
            if shown:
                logging.enable_progress_bar()
        shape = Shape(**facts["shape"])  # type: ignore[arg-type]
        agents = Agents(encoder, shape, len(facts["criteria"]))
        encoders = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
        agents.load_state_dict({**encoders, **load_file(folder / HEADS)})
        return cls(AutoTokenizer.from_pretrained(folder), agents.to(device), facts)

    def __call__(self, texts: Iterable[str], batch_size: int = 8) -> list[Prediction]:
        """Predict criteria and evidence of texts, each of which is read whole, however long.

        Args:
            texts: Any number of texts; an empty one has no evidence.
            batch_size: Texts to read at once, at least 1.

        Returns:
            One prediction per text, in the same order.

        Raises:
            TypeError: If one text is given instead of a list, or an item is not a text.
            ValueError: If a text has half a character (a lone surrogate), or batch_size is below 1.
        """
        if isinstance(texts, str):
            raise TypeError("expected a list of texts, found one text: write [text]")
        if batch_size < 1:
            raise ValueError(f"expected a batch_size of at least 1, found {batch_size}")
        texts = list(texts)
        for at, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"expected texts, found {type(text).__name__} at {at}")
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise ValueError(f"text {at} has half a character (a lone surrogate), which no encoder reads")
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        found: dict[int, Prediction] = {}
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            found |= zip(chosen, self._predict([texts[index] for index in chosen]), strict=True)
        return [found[index] for index in range(len(texts))]

    @torch.no_grad()
    def _predict(self, texts: list[str]) -> list[Prediction]:
        rows = [self._tokenised(text) for text in texts]
        outputs: Outputs = self._agents(self._collator(rows).to(self._agents.criteria_thresholds.device))
        results: list[Prediction] = [{} for _ in texts]
        if outputs.criteria_logits is not None:
            probabilities = torch.sigmoid(outputs.criteria_logits)
            met = probabilities >= self._agents.criteria_thresholds
            thresholds = self._agents.criteria_thresholds.tolist()
            for result, row, decided in zip(results, probabilities.tolist(), met.tolist(), strict=True):
                result["criteria"] = {
                    name: {"probability": value, "threshold": threshold, "met": yes}
                    for name, value, threshold, yes in zip(
                        self.criteria, row, thresholds, decided, strict=True
                    )
                }
        if outputs.evidence is not None:
            found = find_spans(self._agents, outputs.evidence, rows)
            spans = _sentence_spans(found.scores, rows) if found.spans is None else found.spans
            for result, text, own in zip(results, texts, spans, strict=True):
                result["evidence"] = self._evidence(result.get("criteria"), text, own)
        return results

    def _tokenised(self, text: str) -> TokenisedPost:
        sentences = split_sentences(text)
        nothing = [0] * len(self.criteria)
        return {
            **self._cut(text, sentences),
            "sentences": sentences,
            "criteria": nothing,
            "evidence_known": nothing,
            "evidence_tokens": [],
            "sentence_targets": [nothing] * len(sentences),
        }

    def _evidence(
        self, criteria: dict[str, CriterionResult] | None, text: str, spans: Sequence[EvidenceSpan]
    ) -> list[EvidenceResult]:
        """Return the spans that reach their threshold, of criteria that the text meets, in text order."""
        thresholds = self._agents.evidence_thresholds.cpu()
        return [
            {"criterion": name, "start": start, "end": end, "score": score, "text": text[start:end]}
            for at, start, end, score in sorted(spans, key=lambda span: (span[1], span[0]))
            for name in [self.criteria[at]]
            if score >= thresholds[at] and (criteria is None or criteria[name]["met"])
        ]


def _sentence_spans(scores: Tensor, rows: Sequence[TokenisedPost]) -> list[list[EvidenceSpan]]:
    """Return each candidate sentence of each text as a span for each criterion."""
    parts = torch.split(scores, [len(row["sentences"]) for row in rows])
    return [
        [
            (at, start, end, score)
            for (start, end), own in zip(row["sentences"], part.tolist(), strict=True)
            for at, score in enumerate(own)
        ]
        for row, part in zip(rows, parts, strict=True)
    ]
