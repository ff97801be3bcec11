"""Encoders and their tokenizers: built from a config, from a package, or from a local directory."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thriftune import files
from thriftune.config import (
    EncoderFromConfig,
    EncoderFromDirectory,
    EncoderFromPackage,
    EncoderSource,
    suggest,
)
from thriftune.errors import ConfigError, ThriftuneError, UnavailableError
from thriftune.model.memory import is_out_of_memory

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WEIGHTS = "model.safetensors"
PICKLED = ("pytorch_model.bin", "model.ckpt", "tf_model.h5")


@dataclass(frozen=True)
class Encoder:
    """A tokenizer, and how to make its model anew for each trial."""

    tokenizer: Any
    fingerprint: str
    """SHA-256 over what decides the tokens and the first weights."""
    window: int
    """Most tokens that the model takes at once, special tokens included."""
    instantiate: Callable[[], Any]
    """A fresh model: loaded, or with random weights from torch's generator."""

    @property
    def pad_token_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return 0 if pad is None else int(pad)


def resolve_encoder(
    name: str, catalogue: Mapping[str, EncoderSource], root: Path | None = None
) -> EncoderSource:
    """The catalogue's entry, or a local directory (from `root`, default the current one); ConfigError with
    the nearest name else."""
    if name in catalogue:
        return catalogue[name]
    if ((root or Path()) / name).is_dir():
        return EncoderFromDirectory(kind="directory", path=name)
    raise ConfigError(
        f"there is no encoder {name!r}{suggest(name, catalogue)}",
        where="encoder",
        remedy=f"choose one of {', '.join(sorted(catalogue))}, or a local directory.",
    )


def check_source(source: EncoderSource, max_length: int) -> None:
    """What can be said of an encoder without loading it: its files are there, its window is wide enough.

    Raises UnavailableError where a package is missing, ConfigError else.
    """
    if isinstance(source, EncoderFromConfig):
        _check_window(source.window, max_length)
        return
    folder = _package_folder(source) if isinstance(source, EncoderFromPackage) else Path(source.path)
    _check_files(folder)
    try:
        config = files.read_json(folder / "config.json")
        known = config.get("max_position_embeddings"), config.get("model_type")
    except (ValueError, AttributeError) as error:
        raise ConfigError(
            f"is no model configuration: {error}",
            where=str(folder / "config.json"),
            remedy="save the model with transformers' save_pretrained.",
        ) from error
    if isinstance(known[0], int):
        _check_window(known[0] - 2 if known[1] == "roberta" else known[0], max_length)


def build_encoder(source: EncoderSource, train_texts: Callable[[], Iterable[str]], cache: Path) -> Encoder:
    """The encoder of a source.

    A tokenizer that has to be trained is trained on train_texts() alone and kept under `cache`.
    Raises UnavailableError where a package is missing, ConfigError where a directory lacks what it
    needs.
    """
    if isinstance(source, EncoderFromConfig):
        return _from_config(source, train_texts, cache)
    if isinstance(source, EncoderFromPackage):
        return _from_folder(_package_folder(source), source.sha256)
    return _from_folder(Path(source.path), None)


def allow_recomputation(model: Any) -> None:
    """Have a model compute activations again in the backward pass. ConfigError where it cannot."""
    if not model.supports_gradient_checkpointing:
        raise ConfigError(
            f"{type(model).__name__} cannot compute its activations again",
            where="training.gradient_checkpointing",
            remedy="set it to false, or choose another encoder.",
        )
    model.activation_checkpointing_enable({"use_reentrant": False})


def check_window(encoder: Encoder, max_length: int) -> None:
    """ConfigError where training.max_length is above what the encoder takes."""
    _check_window(encoder.window, max_length)


def _check_window(window: int, max_length: int) -> None:
    if max_length > window:
        raise ConfigError(
            f"expected at most the encoder's window of {window} tokens, got {max_length}",
            where="training.max_length",
            remedy="lower it; longer posts become several windows, nothing is cut off.",
        )


def _from_config(source: EncoderFromConfig, train_texts: Callable[[], Iterable[str]], cache: Path) -> Encoder:
    from transformers import BertConfig, BertModel

    texts = list(train_texts())
    key = files.sha256_json([source.vocabulary_size, files.sha256_json(texts)])
    folder = cache / f"tokenizer_{key[:16]}"
    if not folder.exists():
        with files.alone_with(folder):
            if not folder.exists():
                _train_tokenizer(texts, source.vocabulary_size, folder)
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


def _train_tokenizer(texts: list[str], vocabulary_size: int, folder: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    counts = Counter(
        word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    )
    tokenizer = Tokenizer(models.WordPiece(vocabulary(counts, vocabulary_size), unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    temporary = folder.with_name(f".tmp-{folder.name}")
    files.remove_tree(temporary)
    temporary.mkdir(parents=True)
    fast.save_pretrained(str(temporary))
    files.rename(temporary, folder)


def vocabulary(counts: Mapping[str, int], size: int) -> dict[str, int]:
    """A WordPiece vocabulary: special tokens, every character alone and as a continuation, then whole
    words by frequency. A function of the counts alone, as the trainer of the tokenizers library is not
    (its ids follow the order of a hash map that differs from process to process)."""
    characters = sorted({character for word in counts for character in word})
    words = sorted(counts, key=lambda word: (-counts[word], word))
    pieces = [*SPECIALS, *characters, *(f"##{character}" for character in characters), *words]
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces).keys()) if number < size}


def _package_folder(source: EncoderFromPackage) -> Path:
    spec = importlib.util.find_spec(source.package)
    if spec is None or not spec.submodule_search_locations:
        raise UnavailableError(
            f"the package {source.package} that holds this encoder is not installed",
            where="encoder",
            remedy="run `make encoder`, then the same command again.",
        )
    return Path(next(iter(spec.submodule_search_locations))) / source.folder


def _check_files(folder: Path) -> None:
    for name in ("config.json", WEIGHTS):
        if not (folder / name).is_file():
            pickled = [other for other in PICKLED if (folder / other).is_file()]
            raise ConfigError(
                f"the encoder's folder has no {name}"
                + (f", only the pickle {pickled[0]}, which is never read" if pickled else ""),
                where=str(folder),
                remedy="save the model with transformers' save_pretrained (safetensors).",
            )


def _from_folder(folder: Path, wanted_sha256: str | None) -> Encoder:
    _check_files(folder)
    weights = files.sha256_file(folder / WEIGHTS)
    if wanted_sha256 is not None and weights != wanted_sha256:
        raise ConfigError(
            f"expected SHA-256 {wanted_sha256}, found {weights}",
            where=str(folder / WEIGHTS),
            remedy="install the package again with `make encoder`.",
        )
    from transformers import AutoConfig, AutoModel

    with _loading(folder):
        tokenizer = _load_tokenizer(folder)
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
        window = _window(config)
    known = [
        files.sha256_file(folder / name)
        for name in ("config.json", "tokenizer.json")
        if (folder / name).is_file()
    ]

    def instantiate() -> Any:
        with _loading(folder):
            model = AutoModel.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, **load_arguments(config)
            )
        if model.main_input_name != "input_ids" or config.is_encoder_decoder:
            raise _cannot_be_loaded(folder, f"{type(model).__name__} is no encoder of text alone")
        return model

    return Encoder(
        tokenizer=tokenizer,
        fingerprint=files.sha256_json([weights, *known]),
        window=window,
        instantiate=instantiate,
    )


@contextmanager
def _loading(folder: Path) -> Iterator[None]:
    """ConfigError for whatever transformers raises of files that it cannot load: nearly any type, a KeyError
    for an unknown activation among them. Memory that runs out stays what it is."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ThriftuneError) or is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]
        raise _cannot_be_loaded(folder, f"{type(error).__name__}: {reason}") from error


def _cannot_be_loaded(folder: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"the encoder in {folder} cannot be loaded: {reason}",
        where="encoder",
        remedy="save it again with transformers' save_pretrained, or choose another.",
    )


def load_arguments(config: Any) -> dict[str, bool]:
    """What from_pretrained is given beside the folder: BERT-like classes bring a pooling layer that nothing
    here trains."""
    return {"add_pooling_layer": False} if config.model_type in ("bert", "roberta") else {}


def _window(config: Any) -> int:
    positions = int(getattr(config, "max_position_embeddings", 512))
    # RoBERTa's positions start after the padding index.
    return positions - 2 if config.model_type == "roberta" else positions


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
