"""An exported dual agent: texts in, criteria with probabilities and evidence with character ranges out.

torch, transformers and safetensors alone: an export brings this module and those that it imports along, as
`dual_agent/` beside the weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from thriftune.corpus.sentences import split_sentences
from thriftune.corpus.windows import window_cutter
from thriftune.model.agents import Agents, Outputs, Shape
from thriftune.model.batch import collate

HEADS, FACTS = "heads.safetensors", "dual_agent.json"


class Predictor:
    """What `load` gives."""

    def __init__(self, tokenizer: Any, agents: Agents, facts: dict[str, Any]) -> None:
        self._agents = agents.eval()
        self.criteria: tuple[str, ...] = tuple(facts["criteria"])
        self._cut = window_cutter(tokenizer, facts["max_length"], facts["overlap"])
        self._pad = 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> Self:
        """The model in an exported folder, on a device of torch's."""
        folder = Path(folder)
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        encoder = AutoModel.from_pretrained(folder, **facts["encoder_arguments"])
        agents = Agents(encoder, Shape(**facts["shape"]), len(facts["criteria"]))
        encoders = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
        agents.load_state_dict({**encoders, **load_file(folder / HEADS)})
        return cls(AutoTokenizer.from_pretrained(folder), agents.to(device), facts)

    def __call__(self, texts: Sequence[str], batch_size: int = 8) -> list[dict[str, Any]]:
        """For each text `criteria`: name to {probability, met}, and `evidence`: a list of {criterion, start,
        end, score, text}, characters of the text, end exclusive, in order. Either is missing where its agent
        was not trained. A text is read whole, however long; of an empty one there is no evidence."""
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
                "sentence_targets": [nothing] * len(sentences),
            }
            rows.append({**self._cut(text, sentences), "sentences": sentences, **targets})
        batch = collate(rows, len(self.criteria), self._pad).to(self._agents.criteria_thresholds.device)
        outputs: Outputs = self._agents(batch)
        results: list[dict[str, Any]] = [{} for _ in texts]
        met = None
        if outputs.criteria_logits is not None:
            probabilities = torch.sigmoid(outputs.criteria_logits)
            met = probabilities >= self._agents.criteria_thresholds
            for result, row, decided in zip(results, probabilities.tolist(), met.tolist(), strict=True):
                result["criteria"] = {
                    name: {"probability": value, "met": yes}
                    for name, value, yes in zip(self.criteria, row, decided, strict=True)
                }
        if outputs.sentence_logits is not None:
            scores = torch.sigmoid(outputs.sentence_logits)
            marked = scores >= self._agents.evidence_thresholds
            if met is not None:  # evidence for what the post does not meet is none
                marked &= met[batch.sentence_post]
            self._add_evidence(results, rows, texts, scores.tolist(), marked.tolist())
        return results

    def _add_evidence(
        self,
        results: list[dict[str, Any]],
        rows: list[dict[str, Any]],
        texts: list[str],
        scores: list[list[float]],
        marked: list[list[bool]],
    ) -> None:
        at = 0
        for result, row, text in zip(results, rows, texts, strict=True):
            result["evidence"] = [
                {"criterion": name, "start": start, "end": end, "score": score, "text": text[start:end]}
                for number, (start, end) in enumerate(row["sentences"], at)
                for name, score, yes in zip(self.criteria, scores[number], marked[number], strict=True)
                if yes
            ]
            at += len(row["sentences"])
