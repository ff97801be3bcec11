"""The files of an exported model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue
from safetensors.torch import save_file

from thriftune import dual_agent, files
from thriftune.dual_agent.predictor import FACTS, HEADS
from thriftune.model.encoder import Encoder, load_arguments
from thriftune.model.trainable import DualAgent

EXAMPLE, PACKAGE = "predict.py", "dual_agent"
"""What runs there, and the folder of its code: ours as it is, which imports nothing else of this project."""


def write_model(target: Path, agent: DualAgent, encoder: Encoder, facts: Mapping[str, JsonValue]) -> None:
    """Write a model's files into an empty folder.

    Args:
        target: The folder.
        agent: The trained model.
        encoder: Its encoder, for the tokenizer.
        facts: criteria, shape and layout at least.
    """
    agent.merged_encoder().save_pretrained(str(target))
    encoder.tokenizer.save_pretrained(str(target))
    heads = {
        key: value.contiguous() for key, value in agent.state_dict().items() if not key.startswith("encoder.")
    }
    save_file(heads, str(target / HEADS))
    files.write_json(target / FACTS, {**facts, "encoder_arguments": load_arguments(agent.encoder.config)})
    files.write_bytes(target / EXAMPLE, (Path(__file__).parent / "export_example.py.txt").read_bytes())
    files.make_directory(target / PACKAGE)
    for source in sorted(Path(str(dual_agent.__file__)).parent.glob("*.py")):
        files.write_bytes(target / PACKAGE / source.name, source.read_bytes())
    for path in target.glob("*.safetensors"):  # safetensors lets nobody else read what it writes
        path.chmod((target / FACTS).stat().st_mode)
