"""WordPiece tokenizers trained on a corpus, kept in a cache by the texts that they were trained on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from thriftune import files
from thriftune.config import EncoderFromConfig
from thriftune.model.encoder_files import FAST_TOKENIZER

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def trained_tokenizer(
    source: EncoderFromConfig, train_texts: Callable[[], Iterable[str]], cache: Path
) -> Path:
    """Return the folder of the tokenizer trained on the texts; it is trained now if it is not in the cache.

    Args:
        source: The encoder's configuration.
        train_texts: Returns the training texts, which are read once or twice.
        cache: Folder that keeps trained tokenizers.
    """
    folder = _tokenizer_folder(source, train_texts(), cache)
    if not folder.exists():
        with files.file_lock(folder):
            if not folder.exists():
                _train_tokenizer(train_texts(), source.vocabulary_size, folder)
    return folder


def vocabulary_size(source: EncoderFromConfig, texts: Iterable[str], cache: Path) -> int | None:
    """Return the number of tokens of the tokenizer trained on the texts; None if it has not been trained yet.

    Args:
        source: The encoder's configuration.
        texts: The training texts.
        cache: Folder that keeps trained tokenizers.
    """
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
    with files.new_directory(folder) as temporary:
        fast.save_pretrained(str(temporary))


def word_counts(
    texts: Iterable[str], split: Callable[[str], list[str]], most_pieces: int = 1_000_000
) -> Counter[str]:
    """Count the words of texts.

    Args:
        texts: Any number of texts.
        split: Returns the words of a piece of text without spaces; it is called once for equal pieces.
        most_pieces: Different pieces to hold in memory before they are split.

    Returns:
        Occurrences of each word.
    """
    counts: Counter[str] = Counter()
    pieces: Counter[str] = Counter()

    def split_pieces() -> None:
        for piece, times in pieces.items():
            for word in split(piece):
                counts[word] += times
        pieces.clear()

    for text in texts:
        pieces.update(text.split(" "))
        if len(pieces) > most_pieces:
            split_pieces()
    split_pieces()
    return counts


def vocabulary(counts: Mapping[str, int], size: int) -> dict[str, int]:
    """Return a WordPiece vocabulary (Wu et al., 2016) that depends on the counts alone.

    The trainer of the tokenizers library would not do: its ids follow the order of a hash map, which differs
    from process to process.

    Args:
        counts: Occurrences of each word.
        size: Most tokens.

    Returns:
        Ids by token: special tokens, every character alone and as a continuation, whole words by frequency.
    """
    characters = sorted({character for word in counts for character in word})
    words = sorted(counts, key=lambda word: (-counts[word], word))
    pieces = [*SPECIALS, *characters, *(f"##{character}" for character in characters), *words]
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces).keys()) if number < size}
