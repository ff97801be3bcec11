"""Encoders and their tokenizers: built from a config, or loaded from a package, a directory or the hub."""

from __future__ import annotations

import hashlib
import inspect
import logging
import re
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
    EncoderFromHub,
    EncoderFromPackage,
    EncoderSource,
    suggest,
)
from thriftune.errors import ConfigError, ThriftuneError
from thriftune.hub import Hub
from thriftune.model.encoder_files import CONFIG, FAST_TOKENIZER, TOKENIZER, config_of, folder_of, weights_of
from thriftune.model.out_of_memory import is_out_of_memory

log = logging.getLogger(__name__)

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
AFTER_PADDING = ("camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "xlm-roberta")
"""Models that count positions from the padding token's id on: they have vectors for more than they take."""
ACROSS_PADDING = ("fnet", "nystromformer", "yoso")
"""Models that mix padding into what they say of a text: it would depend on the texts beside it."""
ENDLESS = 1 << 20
"""The window of a model without absolute positions."""
_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>\S+))?")


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
    """Return where an encoder comes from.

    Args:
        name: An entry of the catalogue, a local directory, or an id of the hub (`owner/name` or
            `owner/name@revision`); the first that there is counts.
        catalogue: Encoders by name.
        root: Where a relative directory starts. None: only an absolute one is looked for.

    Raises:
        ConfigError: The name is none of them; the message has the nearest in the catalogue.
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
    """What can be said of an encoder without loading it: its files are there, its window is wide enough. Of
    one on the hub config.json is read.

    Raises UnavailableError where a package is missing or the hub cannot be had, ConfigError else.
    """
    if isinstance(source, EncoderFromConfig):
        _check_window(source.window, max_length)
        return
    if isinstance(source, EncoderFromHub) and source.window is not None:
        _check_window(source.window, max_length)
    config = config_of(source, hub)
    _check_family(config)
    window = window_of(config)
    if window is not None:
        _check_window(window, max_length)


def build_encoder(
    source: EncoderSource,
    train_texts: Callable[[], Iterable[str]],
    cache: Path,
    hub: Hub | None = None,
) -> Encoder:
    """The encoder of a source.

    A tokenizer that has to be trained is trained on train_texts() alone and kept under `cache`; a model on
    the hub is downloaded. Raises UnavailableError where a package is missing or the hub cannot be had,
    ConfigError where a file that is needed is not there, or cannot be loaded.
    """
    if isinstance(source, EncoderFromConfig):
        return _from_config(source, train_texts, cache)
    wanted = source.sha256 if isinstance(source, EncoderFromPackage) else None
    return _from_folder(folder_of(source, hub), wanted)


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


def _check_family(config: Mapping[str, Any]) -> None:
    """ConfigError where what a model says of a post would depend on the posts beside it."""
    if config.get("model_type") in ACROSS_PADDING:
        raise ConfigError(
            f"a {config['model_type']} mixes padding into its result: what it finds in a post would depend "
            "on the posts beside it",
            where="encoder",
            remedy="choose another; conf/base/parameters_encoders.yml names many.",
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

    folder = _tokenizer_folder(source, train_texts(), cache)
    if not folder.exists():
        with files.file_lock(folder):
            if not folder.exists():
                _train_tokenizer(train_texts(), source.vocabulary_size, folder)
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


def vocabulary_size(source: EncoderFromConfig, texts: Iterable[str], cache: Path) -> int | None:
    """Return how many tokens the tokenizer has that was trained on the texts; None where none was yet."""
    from tokenizers import Tokenizer

    path = _tokenizer_folder(source, texts, cache) / FAST_TOKENIZER
    return int(Tokenizer.from_file(str(path)).get_vocab_size()) if path.exists() else None


def _tokenizer_folder(source: EncoderFromConfig, texts: Iterable[str], cache: Path) -> Path:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(f"{len(text)} {text}".encode())
    key = files.sha256_json([source.vocabulary_size, digest.hexdigest()])
    return cache / f"tokenizer_{key[:16]}"


def _train_tokenizer(texts: Iterable[str], vocabulary_size: int, folder: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    counts = word_counts(
        texts, lambda text: [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]
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


def word_counts(
    texts: Iterable[str], split: Callable[[str], list[str]], most_pieces: int = 1_000_000
) -> Counter[str]:
    """How often the texts have each word, by a split that never joins what a space parts: it is asked once
    for what stands between two spaces, however often that stands there."""
    counts: Counter[str] = Counter()
    pieces: Counter[str] = Counter()

    def settle() -> None:
        for piece, times in pieces.items():
            for word in split(piece):
                counts[word] += times
        pieces.clear()

    for text in texts:
        pieces.update(text.split(" "))
        if len(pieces) > most_pieces:
            settle()
    settle()
    return counts


def vocabulary(counts: Mapping[str, int], size: int) -> dict[str, int]:
    """A WordPiece vocabulary: special tokens, every character alone and as a continuation, then whole
    words by frequency. A function of the counts alone, as the trainer of the tokenizers library is not
    (its ids follow the order of a hash map that differs from process to process)."""
    characters = sorted({character for word in counts for character in word})
    words = sorted(counts, key=lambda word: (-counts[word], word))
    pieces = [*SPECIALS, *characters, *(f"##{character}" for character in characters), *words]
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces).keys()) if number < size}


def _from_folder(folder: Path, wanted_sha256: str | None) -> Encoder:
    weights = [files.sha256_file(path) for path in weights_of(folder)]
    if wanted_sha256 is not None and weights != [wanted_sha256]:
        raise ConfigError(
            f"expected SHA-256 {wanted_sha256}, found {', '.join(weights)}",
            where=str(folder),
            remedy="install the package again with `make encoder`.",
        )
    import torch
    from transformers import AutoConfig, AutoModel

    with _loading(folder):
        tokenizer = _load_tokenizer(folder)
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
        window = window_of(config.to_dict()) or ENDLESS
    _check_family(config.to_dict())
    of_tokenizer = (FAST_TOKENIZER,) if (folder / FAST_TOKENIZER).is_file() else TOKENIZER
    known = [
        files.sha256_file(folder / name) for name in (CONFIG, *of_tokenizer) if (folder / name).is_file()
    ]

    def instantiate() -> Any:
        with _loading(folder):
            model, found = AutoModel.from_pretrained(
                str(folder),
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,  # whatever the weights are stored in
                output_loading_info=True,
                **load_arguments(config),
            )
        if model.main_input_name != "input_ids" or config.is_encoder_decoder:
            raise _cannot_be_loaded(folder, f"{type(model).__name__} is no encoder of text alone")
        if found["missing_keys"]:
            log.warning("%s", _drawn_at_random(folder, sorted(found["missing_keys"])))
        return model

    return Encoder(
        tokenizer=tokenizer,
        fingerprint=files.sha256_json([*weights, *known]),
        window=window,
        instantiate=instantiate,
    )


@contextmanager
def _loading(folder: Path) -> Iterator[None]:
    """ConfigError for whatever transformers raises of files that it cannot load: nearly any type, a KeyError
    for an unknown activation among them. Memory that runs out stays what it is."""
    from transformers.utils import logging as reports

    loudness = reports.get_verbosity()
    reports.set_verbosity_error()  # the report of what was found and what was not: we say what matters of it
    try:
        yield
    except Exception as error:
        if isinstance(error, ThriftuneError) or is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]
        raise _cannot_be_loaded(folder, f"{type(error).__name__}: {reason}") from error
    finally:
        reports.set_verbosity(loudness)


def _cannot_be_loaded(folder: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"the encoder in {folder} cannot be loaded: {reason}",
        where="encoder",
        remedy="save it again with transformers' save_pretrained, or choose another.",
    )


def _drawn_at_random(folder: Path, names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{folder} has no weights for {', '.join(names[:3])}{more}: these begin at random"


def load_arguments(config: Any) -> dict[str, Any]:
    """What from_pretrained is given beside the folder. Many classes bring a pooling layer, which nothing here
    trains; BigBird's sparse attention draws at random, and gives way to full attention for good as soon as a
    batch is short: what it says of a post would depend on its neighbours."""
    from transformers import MODEL_MAPPING

    arguments: dict[str, Any] = {}
    if "add_pooling_layer" in inspect.signature(MODEL_MAPPING[type(config)].__init__).parameters:
        arguments["add_pooling_layer"] = False
    if config.model_type == "big_bird":
        arguments["attention_type"] = "original_full"
    return arguments


def window_of(config: Mapping[str, Any]) -> int | None:
    """Most tokens that a model takes at once, by its configuration; None where that has no end."""
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
