"""The files of an encoder from a package, a directory or the hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NoReturn, TypedDict, cast

from thriftune import files
from thriftune.config import EncoderFromDirectory, EncoderFromHub, EncoderFromPackage
from thriftune.errors import ConfigError, UnavailableError
from thriftune.hub import Hub, Repository

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""Names the files of weights that are split."""
PICKLED = (
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.ckpt",
    "tf_model.h5",
    "flax_model.msgpack",
)
"""Weights in formats that are never read, because reading them can run code."""
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


class ModelConfiguration(TypedDict, total=False):
    """The keys of a config.json of transformers that are read here; it has many more."""

    model_type: str
    max_position_embeddings: int
    pad_token_id: int


def folder_of(source: FolderSource, hub: Hub | None) -> Path:
    """Return the folder with all files of an encoder; UnavailableError if it cannot be reached now.

    Args:
        source: Where the encoder comes from; files on the hub are downloaded if they are not cached.
        hub: Needed for an encoder of the hub, else None.

    Raises:
        ConfigError: If a file is missing.
    """
    if isinstance(source, EncoderFromHub):
        repository, hub = _repository(source), _hub(hub)
        folder = hub.snapshot(repository, OF_THE_HUB, needed=(CONFIG,)).folder
        if not _has_weights(folder):
            _refuse_pickle(source, hub.names(repository))
        return folder
    folder = _package_folder(source) if isinstance(source, EncoderFromPackage) else source.folder
    for name, there in ((CONFIG, (folder / CONFIG).is_file()), (WEIGHTS, _has_weights(folder))):
        if not there:
            pickled = [other for other in PICKLED if (folder / other).is_file()]
            raise ConfigError(
                f"the encoder's folder has no {name}"
                + (f", only the pickle {pickled[0]}, which is never loaded" if pickled else ""),
                where=str(folder),
                remedy="save the model with transformers' save_pretrained (safetensors).",
            )
    return folder


def config_of(source: FolderSource, hub: Hub | None) -> ModelConfiguration:
    """Return the encoder's config.json; of a model on the hub, the weights are not downloaded.

    Args:
        source: Where the encoder comes from.
        hub: Needed for an encoder of the hub, else None.

    Raises:
        ConfigError: If the file is not a model configuration, or a file of the encoder is missing.
    """
    if isinstance(source, EncoderFromHub):
        folder = _hub(hub).snapshot(_repository(source), (CONFIG,), needed=(CONFIG,)).folder
    else:
        folder = folder_of(source, hub)
    try:
        config = cast(ModelConfiguration, files.read_json(folder / CONFIG))
        config.get("model_type")
    except (ValueError, AttributeError) as error:
        raise ConfigError(
            f"is not a model configuration: {error}",
            where=str(folder / CONFIG),
            remedy="save the model with transformers' save_pretrained.",
        ) from error
    return config


def _has_weights(folder: Path) -> bool:
    """Return whether a folder has safetensors, in one file or in all of several."""
    try:
        return bool(weights_of(folder))
    except FileNotFoundError:
        return False


def weights_of(folder: Path) -> list[Path]:
    """Return the files with the weights, sorted.

    Args:
        folder: The encoder's folder.

    Raises:
        FileNotFoundError: If one is missing.
    """
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
        raise ValueError("an encoder from the hub needs a Hub")
    return hub


def _refuse_pickle(source: EncoderFromHub, names: list[str]) -> NoReturn:
    pickled = next((name for name in PICKLED if name in names), None)
    copy = source.id.replace("/", "--")
    loading = f"'{source.id}', revision='{source.revision}'"
    raise ConfigError(
        f"the model {source.id} has no {WEIGHTS}"
        + (f", only {pickled}: loading a pickle can run arbitrary code, so it is refused" if pickled else ""),
        where="encoder",
        remedy=f"""if you trust its authors, convert it once:
  python -c "from transformers import AutoModel, AutoTokenizer; [kind.from_pretrained({loading})"""
        f""".save_pretrained('data/encoders/{copy}') for kind in (AutoModel, AutoTokenizer)]"
and set encoder=data/encoders/{copy}. If its page has a pull request with safetensors, encoder="""
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
