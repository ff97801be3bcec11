"""An exported dual agent: texts in, criteria with probabilities and evidence with character ranges out.

torch, transformers and safetensors alone: an export brings this module and those that it imports along, as
`dual_agent/` beside the weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from .agents import Agents, Outputs, Shape
from .batch import Collator
from .sentences import split_sentences
from .spans import Place, find_places
from .windows import Layout, window_cutter, window_tails

HEADS, FACTS = "heads.safetensors", "dual_agent.json"


class Predictor:
    """What `load` gives."""

    def __init__(self, tokenizer: Any, agents: Agents, facts: dict[str, Any]) -> None:
        self._agents = agents.eval()
        self.criteria: tuple[str, ...] = tuple(facts["criteria"])
        layout = Layout(**facts["layout"])
        self._cut = window_cutter(tokenizer, layout)
        pad = 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
        self._collator = Collator(len(self.criteria), pad, window_tails(tokenizer, layout))

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> Self:
        """The model in an exported folder, on a device of torch's."""
        folder = Path(folder)
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            encoder = AutoModel.from_pretrained(folder, **facts["encoder_arguments"])
        finally:
            if shown:
                logging.enable_progress_bar()
        agents = Agents(encoder, Shape(**facts["shape"]), len(facts["criteria"]))
        encoders = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
        agents.load_state_dict({**encoders, **load_file(folder / HEADS)})
        return cls(AutoTokenizer.from_pretrained(folder), agents.to(device), facts)

    def __call__(self, texts: Iterable[str], batch_size: int = 8) -> list[dict[str, Any]]:
        """For each text `criteria`: name to {probability, threshold, met}, and `evidence`: a list of
        {criterion, start, end, score, text}, characters of the text, end exclusive, in order. Either is
        missing where its agent was not trained. A text is read whole, however long; of an empty one there is
        no evidence. TypeError where one text is given in place of a list, or something else than a text
        in it; ValueError for half a character (a lone surrogate) and a batch_size below 1."""
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
        found: dict[int, dict[str, Any]] = {}
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            found |= zip(chosen, self._predict([texts[index] for index in chosen]), strict=True)
        return [found[index] for index in range(len(texts))]

    @torch.no_grad()
    def _predict(self, texts: list[str]) -> list[dict[str, Any]]:
        nothing = [0] * len(self.criteria)
        rows = []
        for text in texts:
            sentences = split_sentences(text)
            targets = {
                "criteria": nothing,
                "evidence_known": nothing,
                "evidence_tokens": [],
                "sentence_targets": [nothing] * len(sentences),
            }
            rows.append({**self._cut(text, sentences), "sentences": sentences, **targets})
        outputs: Outputs = self._agents(self._collator(rows).to(self._agents.criteria_thresholds.device))
        results: list[dict[str, Any]] = [{} for _ in texts]
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
            found = find_places(self._agents, outputs.evidence, rows)
            places = _sentences(found.scores, rows) if found.places is None else found.places
            for result, text, own in zip(results, texts, places, strict=True):
                result["evidence"] = self._evidence(result.get("criteria"), text, own)
        return results

    def _evidence(
        self, criteria: dict[str, Any] | None, text: str, places: Sequence[Place]
    ) -> list[dict[str, Any]]:
        """What reaches its threshold, of the criteria that the text meets: evidence for another is none."""
        thresholds = self._agents.evidence_thresholds.cpu()
        return [
            {"criterion": name, "start": start, "end": end, "score": score, "text": text[start:end]}
            for at, start, end, score in sorted(places, key=lambda place: (place[1], place[0]))
            for name in [self.criteria[at]]
            if score >= thresholds[at] and (criteria is None or criteria[name]["met"])
        ]


def _sentences(scores: Tensor, rows: Sequence[dict[str, Any]]) -> list[list[Place]]:
    """Each candidate sentence of each text as evidence for each criterion."""
    parts = torch.split(scores, [len(row["sentences"]) for row in rows])
    return [
        [
            (at, start, end, score)
            for (start, end), own in zip(row["sentences"], part.tolist(), strict=True)
            for at, score in enumerate(own)
        ]
        for row, part in zip(rows, parts, strict=True)
    ]
