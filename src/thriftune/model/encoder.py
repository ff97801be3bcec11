"""Encoders and their tokenizers, from a configuration, a package, a directory or the hub."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thriftune import files
from thriftune.config import (
    EncoderFromConfig,
    EncoderFromDirectory,
    EncoderFromHub,
    EncoderFromPackage,
    EncoderSource,
    suggest,
)
from thriftune.errors import ConfigError, ThriftuneError, first_line
from thriftune.hub import Hub
from thriftune.model.encoder_files import (
    CONFIG,
    FAST_TOKENIZER,
    TOKENIZER,
    ModelConfiguration,
    config_of,
    folder_of,
    weights_of,
)
from thriftune.model.out_of_memory import is_out_of_memory
from thriftune.model.trained_tokenizer import trained_tokenizer

log = logging.getLogger(__name__)

AFTER_PADDING = ("camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "xlm-roberta")
"""Models that number positions from the padding token's id on, so that not all vectors are usable."""
ACROSS_PADDING = ("fnet", "nystromformer", "yoso")
"""Models that mix padding into their result, which would then depend on the other texts of a batch."""
ENDLESS = 1 << 20
"""Window of a model without absolute positions, in tokens."""
_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>\S+))?")


@dataclass(frozen=True)
class Encoder:
    """A tokenizer, and a factory of its model; each trial gets a new one."""

    tokenizer: Any
    fingerprint: str
    """SHA-256 over all files and settings that decide the tokens and the initial weights."""
    window: int
    """Most tokens that the model reads at once, including special tokens."""
    instantiate: Callable[[], Any]
    """Returns a new model: loaded, or with random weights from torch's generator."""

    @property
    def pad_token_id(self) -> int:
        """Id of the padding token; 0 for a tokenizer without one."""
        pad = self.tokenizer.pad_token_id
        return 0 if pad is None else int(pad)


def resolve_encoder(
    name: str, catalogue: Mapping[str, EncoderSource], root: Path | None = None
) -> EncoderSource:
    """Return the source that an encoder's name stands for.

    Args:
        name: A name of the catalogue, a local directory, or `owner/name` or `owner/name@revision` on the hub.
        catalogue: Sources by name.
        root: Folder that a relative directory starts from; None: only an absolute one is looked for.

    Raises:
        ConfigError: If it is none of these; the message names the nearest catalogue entry.
    """
    if name in catalogue:
        return catalogue[name]
    directory = Path(name) if root is None else root / name
    if directory.is_absolute() and directory.is_dir():
        source = EncoderFromDirectory(kind="directory", path=name)
        return source if root is None else source.at(root)
    if found := _HUB_ID.fullmatch(name):
        return EncoderFromHub(kind="hub", id=found["id"], revision=found["revision"] or "main")
    raise ConfigError(
        f"there is no encoder {name!r}{suggest(name, catalogue)}",
        where="encoder",
        remedy=f"choose one of {', '.join(sorted(catalogue))}, a local directory, or an id of the hub "
        "(owner/name).",
    )


def check_source(source: EncoderSource, max_length: int, hub: Hub | None = None) -> None:
    """Raise unless the encoder's files exist and its window is wide enough, without loading the model.

    It is a ConfigError, or an UnavailableError if a package is not installed or the hub cannot be reached.

    Args:
        source: Where the encoder comes from; of a model on the hub, config.json is downloaded.
        max_length: Tokens of a window that training asks for.
        hub: Needed for an encoder of the hub, else None.
    """
    if isinstance(source, EncoderFromConfig):
        _check_window(source.window, max_length)
        return
    if isinstance(source, EncoderFromHub) and source.window is not None:
        _check_window(source.window, max_length)
    config = config_of(source, hub)
    _check_family(config)
    window = _window_of(config)
    if window is not None:
        _check_window(window, max_length)


def build_encoder(
    source: EncoderSource,
    train_texts: Callable[[], Iterable[str]],
    cache: Path,
    hub: Hub | None = None,
) -> Encoder:
    """Return the encoder of a source.

    It is a ConfigError if a file is missing or cannot be loaded, an UnavailableError if a package is not
    installed or the hub cannot be reached.

    Args:
        source: Where the encoder comes from; a model on the hub is downloaded.
        train_texts: Returns the training texts; a tokenizer that must be trained sees no others.
        cache: Folder that keeps trained tokenizers.
        hub: Needed for an encoder of the hub, else None.
    """
    if isinstance(source, EncoderFromConfig):
        return _from_config(source, train_texts, cache)
    wanted = source.sha256 if isinstance(source, EncoderFromPackage) else None
    folder = folder_of(source, hub)
    return _from_folder(
        folder, wanted, source.path if isinstance(source, EncoderFromDirectory) else str(folder)
    )


def allow_recomputation(model: Any) -> None:
    """Make a model recompute activations in the backward pass (Chen et al., 2016), to save memory.

    Args:
        model: A model of transformers; it is changed in place.

    Raises:
        ConfigError: If the model does not support it.
    """
    if not model.supports_gradient_checkpointing:
        raise ConfigError(
            f"{type(model).__name__} does not support gradient checkpointing",
            where="training.gradient_checkpointing",
            remedy="set it to false, or choose another encoder.",
        )
    model.activation_checkpointing_enable({"use_reentrant": False})


def check_window(encoder: Encoder, max_length: int) -> None:
    """Raise ConfigError if a window of training is longer than the encoder's.

    Args:
        encoder: The loaded encoder.
        max_length: Tokens of a window that training asks for.
    """
    _check_window(encoder.window, max_length)


def _check_family(config: ModelConfiguration) -> None:
    """Raise ConfigError if the result for a post would depend on the other posts of its batch."""
    if config.get("model_type") in ACROSS_PADDING:
        raise ConfigError(
            f"a {config['model_type']} mixes padding into its result: what it finds in a post would depend "
            "on the other posts of the batch",
            where="encoder",
            remedy="choose another encoder; conf/base/parameters_encoders.yml lists many.",
        )


def _check_window(window: int, max_length: int) -> None:
    if max_length > window:
        raise ConfigError(
            f"expected at most the encoder's window of {window} tokens, got {max_length}",
            where="training.max_length",
            remedy="lower it; longer posts become several windows, nothing is cut off.",
        )


def _from_config(source: EncoderFromConfig, train_texts: Callable[[], Iterable[str]], cache: Path) -> Encoder:
    from transformers import BertConfig, BertModel

    folder = trained_tokenizer(source, train_texts, cache)
    tokenizer = _load_tokenizer(folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=source.hidden_size,
        num_hidden_layers=source.layers,
        num_attention_heads=source.attention_heads,
        intermediate_size=source.intermediate_size,
        max_position_embeddings=source.window,
        hidden_dropout_prob=source.dropout,
        attention_probs_dropout_prob=source.dropout,
        pad_token_id=tokenizer.pad_token_id,
    )
    tokens = files.sha256_file(folder / "tokenizer.json")
    return Encoder(
        tokenizer=tokenizer,
        fingerprint=files.sha256_json([tokens, source.model_dump()]),
        window=source.window,
        instantiate=lambda: BertModel(config, add_pooling_layer=False),
    )


def _from_folder(folder: Path, wanted_sha256: str | None, shown: str) -> Encoder:
    """Load an encoder; messages show its folder as the user wrote it, wherever the project is."""
    weights = [files.sha256_file(path) for path in weights_of(folder)]
    if wanted_sha256 is not None and weights != [wanted_sha256]:
        raise ConfigError(
            f"expected SHA-256 {wanted_sha256}, found {', '.join(weights)}",
            where=str(folder),
            remedy="install the package again with `make encoder`.",
        )
    import torch
    from transformers import AutoConfig, AutoModel

    with _loading(shown):
        tokenizer = _load_tokenizer(folder)
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
        window = _window_of(config.to_dict()) or ENDLESS
    _check_family(config.to_dict())
    of_tokenizer = (FAST_TOKENIZER,) if (folder / FAST_TOKENIZER).is_file() else TOKENIZER
    known = [
        files.sha256_file(folder / name) for name in (CONFIG, *of_tokenizer) if (folder / name).is_file()
    ]

    def instantiate() -> Any:
        with _loading(shown):
            model, found = AutoModel.from_pretrained(
                str(folder),
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,  # whatever the weights are stored in
                output_loading_info=True,
                **load_arguments(config),
            )
        if model.main_input_name != "input_ids" or config.is_encoder_decoder:
            raise _cannot_be_loaded(shown, f"{type(model).__name__} is not a text encoder")
        if found["missing_keys"]:
            log.warning("%s", _missing_weights(shown, sorted(found["missing_keys"])))
        return model

    return Encoder(
        tokenizer=tokenizer,
        fingerprint=files.sha256_json([*weights, *known]),
        window=window,
        instantiate=instantiate,
    )


@contextmanager
def _loading(folder: str) -> Iterator[None]:
    """Turn errors of loading into ConfigError, except our own and those of memory that has run out.

    transformers raises nearly any type, for example KeyError for an unknown activation.
    """
    from transformers.utils import logging as reports

    verbosity = reports.get_verbosity()
    reports.set_verbosity_error()  # hides its report of missing weights, which we log ourselves
    try:
        yield
    except Exception as error:
        if isinstance(error, ThriftuneError) or is_out_of_memory(error):
            raise
        reason = first_line(error)
        refused = _cannot_be_loaded(folder, f"{type(error).__name__}: {reason}")
        raise refused from error
    finally:
        reports.set_verbosity(verbosity)


def _cannot_be_loaded(folder: str, reason: str) -> ConfigError:
    return ConfigError(
        f"the encoder in {folder} cannot be loaded: {reason}",
        where="encoder",
        remedy="save it again with transformers' save_pretrained, or choose another encoder.",
    )


def _missing_weights(folder: str, names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{folder} has no weights for {', '.join(names[:3])}{more}: they are initialised at random"


def load_arguments(config: Any) -> dict[str, str | bool]:
    """Return the arguments of from_pretrained besides the folder.

    Many classes have a pooling layer, which nothing here trains. BigBird's sparse attention draws at random,
    and switches to full attention for good at the first short batch: its result for a post would depend on
    the posts before.

    Args:
        config: The model's configuration object of transformers.
    """
    from transformers import MODEL_MAPPING

    arguments: dict[str, str | bool] = {}
    if "add_pooling_layer" in inspect.signature(MODEL_MAPPING[type(config)].__init__).parameters:
        arguments["add_pooling_layer"] = False
    if config.model_type == "big_bird":
        arguments["attention_type"] = "original_full"
    return arguments


def _window_of(config: ModelConfiguration) -> int | None:
    """Return the most tokens that a model reads at once; None if there is no limit."""
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int):
        return None
    if config.get("model_type") in AFTER_PADDING:
        padding = config.get("pad_token_id")
        return positions - 1 - (padding if isinstance(padding, int) else 1)
    return positions


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
