"""All that a configuration needs of the hub, and nothing else, so that it runs where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.hub_server import HubServer

from thriftune.config import EncoderFromHub, override, parse_parameters
from thriftune.corpus.sources import find_sources
from thriftune.errors import ConfigError
from thriftune.hub import Hub
from thriftune.maintenance.fetch import fetch
from thriftune.model.encoder import resolve_encoder
from thriftune.model.encoder_files import folder_of
from thriftune.runner.preflight import check_configuration

pytestmark = pytest.mark.unit
MODEL = {"config.json": b'{"model_type": "bert"}', "tokenizer.json": b"{}"}
CATALOGUE = {"small": {"kind": "hub", "id": "owner/small"}, "other": {"kind": "hub", "id": "owner/other"}}
PARAMETERS = parse_parameters(
    {
        "corpus": {"source": "hub", "hub": {"id": "owner/posts", "posts": "p.csv", "annotations": "a.csv"}},
        "encoder": "small",
        "encoders": CATALOGUE,
        "search": {
            "space": {"encoder": {"type": "categorical", "choices": ["small", "owner/third@v1"]}},
            "baselines": [{"encoder": "owner/fourth"}],
        },
    }
)


def serve(server: HubServer) -> None:
    server.repo("dataset", "owner/posts").commit({"p.csv": b"p", "a.csv": b"a", "huge.csv": b"h"})
    for name in ("small", "other", "third", "fourth"):
        content = MODEL | {
            "model.safetensors": name.encode(),
            "pytorch_model.bin": b"p",
            "onnx/model.onnx": b"o",
        }
        server.repo("model", f"owner/{name}").commit(content, "v1" if name == "third" else "main")


def test_everything_is_there_afterwards_and_nothing_else(tmp_path: Path) -> None:
    """Encoders of the search space and the baselines too; then no request is made."""
    said: list[str] = []
    with HubServer() as server:
        serve(server)
        hub = Hub(tmp_path / "revisions.json", server.url, tmp_path / "cache")
        fetch(PARAMETERS.at(tmp_path), hub, said.append)
        assert [line.partition(":")[0].split(" at ")[0] for line in said] == [
            "data set owner/posts",
            "encoder small",
            "encoder owner/third@v1",
            "encoder owner/fourth",
        ]
        asked = " ".join(request.path for request in server.requests)
        assert not any(name in asked for name in ("other", "huge", "pytorch_model", "onnx"))
        server.requests.clear()
        fetch(PARAMETERS.at(tmp_path), hub, said.append)
        assert server.requests == []
    assert (find_sources(PARAMETERS.corpus, hub).posts or Path()).read_bytes() == b"p"
    source = resolve_encoder("owner/fourth", {})
    assert isinstance(source, EncoderFromHub)
    assert (folder_of(source, hub) / "model.safetensors").read_bytes() == b"fourth"


def test_a_model_with_pickled_weights_alone_is_refused_with_how_to_convert_it(tmp_path: Path) -> None:
    """Its weights are not even downloaded."""
    with HubServer() as server:
        server.repo("model", "owner/old").commit(MODEL | {"pytorch_model.bin": b"p" * 1000})
        hub = Hub(tmp_path / "revisions.json", server.url, tmp_path / "cache")
        settings = override(PARAMETERS, {"corpus.source": "sample", "encoder": "owner/old"})
        with pytest.raises(ConfigError, match=r"only pytorch_model\.bin") as raised:
            fetch(settings.at(tmp_path), hub, lambda line: None)
        assert "AutoModel" in raised.value.remedy
        assert "encoder=data/encoders/owner--old" in raised.value.remedy
        assert not any("pytorch_model" in request.path for request in server.requests)


def test_weights_in_several_files_are_one_model(tmp_path: Path) -> None:
    """The index names them; one that is missing is said."""
    index = (
        b'{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    )
    parts = {f"model-0000{number}-of-00002.safetensors": b"w" for number in (1, 2)}
    with HubServer() as server:
        server.repo("model", "owner/large").commit(MODEL | parts | {"model.safetensors.index.json": index})
        hub = Hub(tmp_path / "revisions.json", server.url, tmp_path / "cache")
        source = resolve_encoder("owner/large", {})
        assert isinstance(source, EncoderFromHub)
        assert {path.name for path in folder_of(source, hub).glob("*.safetensors")} == set(parts)


def test_an_encoder_of_the_search_space_that_does_not_exist_is_said_at_the_start(tmp_path: Path) -> None:
    """Not in the first trial that draws it."""
    space = {"encoder": {"type": "categorical", "choices": ["tiny", "tinny"]}}
    tiny = {"tiny": {"kind": "config"}}
    settings = parse_parameters({"encoders": tiny, "search": {"space": space}})
    with pytest.raises(ConfigError, match="no encoder 'tinny'; did you mean 'tiny'"):
        check_configuration(settings.at(tmp_path))
