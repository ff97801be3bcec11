"""Where an encoder's files are, whoever keeps them: a package, a directory or the hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from thriftune import files
from thriftune.config import EncoderFromDirectory, EncoderFromHub, EncoderFromPackage
from thriftune.errors import ConfigError, UnavailableError
from thriftune.hub import Hub, Repository

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""Of weights in several files."""
PICKLED = (
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.ckpt",
    "tf_model.h5",
    "flax_model.msgpack",
)
"""Weights in formats that are not read here."""
FAST_TOKENIZER = "tokenizer.json"
TOKENIZER = (
    FAST_TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
OF_THE_HUB = (CONFIG, WEIGHTS, INDEX, "model-*-of-*.safetensors", *TOKENIZER)

FolderSource = EncoderFromPackage | EncoderFromDirectory | EncoderFromHub


def folder_of(source: FolderSource, hub: Hub | None) -> Path:
    """The folder with all files of an encoder, downloaded where they are the hub's and not in its cache.

    Raises UnavailableError where a package is missing or the hub cannot be had, ConfigError where a file that
    is needed is not there.
    """
    if isinstance(source, EncoderFromHub):
        repository, hub = _repository(source), _hub(hub)
        folder = hub.snapshot(repository, OF_THE_HUB, needed=(CONFIG,)).folder
        if not has_weights(folder):
            raise _pickled(source, hub.names(repository))
        return folder
    folder = _package_folder(source) if isinstance(source, EncoderFromPackage) else source.folder
    for name, there in ((CONFIG, (folder / CONFIG).is_file()), (WEIGHTS, has_weights(folder))):
        if not there:
            pickled = [other for other in PICKLED if (folder / other).is_file()]
            raise ConfigError(
                f"the encoder's folder has no {name}"
                + (f", only the pickle {pickled[0]}, which is never read" if pickled else ""),
                where=str(folder),
                remedy="save the model with transformers' save_pretrained (safetensors).",
            )
    return folder


def config_of(source: FolderSource, hub: Hub | None) -> dict[str, Any]:
    """config.json as it stands; the weights of a model on the hub are not downloaded. See folder_of."""
    if isinstance(source, EncoderFromHub):
        folder = _hub(hub).snapshot(_repository(source), (CONFIG,), needed=(CONFIG,)).folder
    else:
        folder = folder_of(source, hub)
    try:
        config: dict[str, Any] = files.read_json(folder / CONFIG)
        config.get("model_type")
    except (ValueError, AttributeError) as error:
        raise ConfigError(
            f"is no model configuration: {error}",
            where=str(folder / CONFIG),
            remedy="save the model with transformers' save_pretrained.",
        ) from error
    return config


def has_weights(folder: Path) -> bool:
    """Whether there are safetensors, in one file or in all of several."""
    try:
        return bool(weights_of(folder))
    except FileNotFoundError:
        return False


def weights_of(folder: Path) -> list[Path]:
    """The files with the weights, sorted. FileNotFoundError where one is missing."""
    paths = [folder / WEIGHTS]
    if not paths[0].is_file() and (folder / INDEX).is_file():
        names = set(files.read_json(folder / INDEX)["weight_map"].values())
        paths = [folder / name for name in sorted(names)]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(path)
    return paths


def _repository(source: EncoderFromHub) -> Repository:
    return Repository("model", source.id, source.revision, "encoder")


def _hub(hub: Hub | None) -> Hub:
    if hub is None:
        raise ValueError("an encoder of the hub needs a Hub")
    return hub


def _pickled(source: EncoderFromHub, names: list[str]) -> ConfigError:
    pickled = next((name for name in PICKLED if name in names), None)
    copy = source.id.replace("/", "--")
    loading = f"'{source.id}', revision='{source.revision}'"
    return ConfigError(
        f"the model {source.id} has no {WEIGHTS}"
        + (f", only {pickled}: a pickle can run any code when it is read, so none is" if pickled else ""),
        where="encoder",
        remedy=f"""convert it once, where you trust its authors:
  python -c "from transformers import AutoModel, AutoTokenizer; [kind.from_pretrained({loading})"""
        f""".save_pretrained('data/encoders/{copy}') for kind in (AutoModel, AutoTokenizer)]"
and set encoder=data/encoders/{copy}. Where its page has a pull request with safetensors, encoder="""
        f"{source.id}@refs/pr/N reads that one.",
    )


def _package_folder(source: EncoderFromPackage) -> Path:
    spec = importlib.util.find_spec(source.package)
    if spec is None or not spec.submodule_search_locations:
        raise UnavailableError(
            f"the package {source.package} that holds this encoder is not installed",
            where="encoder",
            remedy="run `make encoder`, then the same command again.",
        )
    return Path(next(iter(spec.submodule_search_locations))) / source.folder
