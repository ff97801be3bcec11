"""Encoders from a config, a directory and a package; what is missing is said."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import normalizers, pre_tokenizers
from transformers import RobertaConfig, RobertaModel, T5Config, T5Model

from thriftune import files
from thriftune.config import EncoderFromConfig, EncoderFromDirectory, EncoderFromPackage
from thriftune.errors import ConfigError, UnavailableError
from thriftune.model.encoder import build_encoder, check_window, resolve_encoder
from thriftune.model.trained_tokenizer import vocabulary, word_counts

pytestmark = pytest.mark.unit
TINY = EncoderFromConfig(
    kind="config",
    vocabulary_size=300,
    hidden_size=8,
    layers=1,
    attention_heads=2,
    intermediate_size=16,
    window=32,
)


def nothing() -> list[str]:
    """No texts are needed."""
    return []


def saved(folder: Path) -> Path:
    """A model directory as transformers saves it."""
    made = build_encoder(TINY, lambda: ["a b c"], folder / "cache")
    made.tokenizer.save_pretrained(str(folder / "model"))
    made.instantiate().save_pretrained(str(folder / "model"))
    return folder / "model"


def test_a_directory_is_loaded_as_it_is(tmp_path: Path) -> None:
    """Each instance has the same weights, and the fingerprint follows them."""
    folder = saved(tmp_path)
    source = resolve_encoder(str(folder), {})
    assert source == EncoderFromDirectory(kind="directory", path=str(folder))
    encoder = build_encoder(source, nothing, tmp_path)
    first, second = encoder.instantiate(), encoder.instantiate()
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert encoder.window == 32
    with pytest.raises(ConfigError, match="window of 32"):
        check_window(encoder, 33)
    check_window(encoder, 32)
    with torch.no_grad():
        next(second.parameters()).add_(1.0)
    second.save_pretrained(str(folder))
    assert build_encoder(source, nothing, tmp_path).fingerprint != encoder.fingerprint


def spoilt(folder: Path, name: str, content: bytes) -> EncoderFromDirectory:
    """A model directory with one file replaced."""
    (saved(folder) / name).write_bytes(content)
    return EncoderFromDirectory(kind="directory", path=str(folder / "model"))


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("model.safetensors", {}, "SafetensorError"),
        ("tokenizer.json", {}, "Error"),
        ("config.json", {"model_type": "otter"}, "ValueError"),
        ("config.json", {"hidden_size": 16}, "RuntimeError"),
        ("config.json", {"hidden_act": "otter"}, "KeyError"),
        ("config.json", {"num_hidden_layers": "two"}, "StrictDataclass"),
    ],
)
def test_what_cannot_be_loaded_is_the_users(
    tmp_path: Path, name: str, change: dict[str, Any], reason: str
) -> None:
    """Whatever transformers raises: one line, with the folder; never a fault of ours."""
    known = json.loads((saved(tmp_path / "whole") / "config.json").read_text(encoding="utf-8"))
    source = spoilt(tmp_path, name, json.dumps(known | change).encode() if change else b"{")
    with pytest.raises(ConfigError, match=f"cannot be loaded: .*{reason}") as caught:
        build_encoder(source, nothing, tmp_path).instantiate()
    assert source.path in str(caught.value)
    assert "\n" not in caught.value.message


def test_a_model_that_reads_no_text_alone_is_refused(tmp_path: Path) -> None:
    """An encoder-decoder would fail in its first step."""
    folder = saved(tmp_path)
    made = T5Config(vocab_size=300, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    T5Model(made).save_pretrained(str(folder))
    source = EncoderFromDirectory(kind="directory", path=str(folder))
    with pytest.raises(ConfigError, match="T5Model is not a text encoder"):
        build_encoder(source, nothing, tmp_path).instantiate()


def test_a_roberta_window_leaves_out_its_padding_positions(tmp_path: Path) -> None:
    """Positions start after the padding index."""
    folder = saved(tmp_path)
    config = RobertaConfig(
        vocab_size=300,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=34,
    )
    RobertaModel(config, add_pooling_layer=False).save_pretrained(str(folder))
    assert (
        build_encoder(EncoderFromDirectory(kind="directory", path=str(folder)), nothing, tmp_path).window
        == 32
    )


def test_pickled_weights_are_never_read(tmp_path: Path) -> None:
    """The message says how to convert them."""
    folder = saved(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"only the pickle pytorch_model\.bin") as caught:
        build_encoder(EncoderFromDirectory(kind="directory", path=str(folder)), nothing, tmp_path)
    assert "save_pretrained" in str(caught.value)


def test_a_package_is_looked_up_and_its_weights_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absent: exit code 4 and the command; other weights: refused."""
    source = EncoderFromPackage(kind="package", package="a_package_of_tests", folder="model", sha256="0" * 64)
    with pytest.raises(UnavailableError, match="make encoder"):
        build_encoder(source, nothing, tmp_path)
    package = tmp_path / "a_package_of_tests"
    package.mkdir()
    (package / "__init__.py").touch()
    folder = saved(package)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="expected SHA-256 0000"):
        build_encoder(source, nothing, tmp_path)
    right = files.sha256_file(folder / "model.safetensors")
    known = source.model_copy(update={"sha256": right})
    assert build_encoder(known, nothing, tmp_path).window == 32


def test_a_name_that_is_nothing_names_the_nearest() -> None:
    """Neither in the catalogue nor a directory."""
    with pytest.raises(ConfigError, match="did you mean 'tiny'"):
        resolve_encoder("tinny", {"tiny": TINY})


@pytest.mark.parametrize("most_pieces", [1, 3, 1_000_000])
def test_words_are_counted_as_of_whole_texts(most_pieces: int) -> None:
    """Whatever stands between spaces is split once, and gives what splitting the texts gives."""
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()

    def split(text: str) -> list[str]:
        return [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]

    texts = [
        "Can't sleep.  Can't\neat,\tCAN'T.",
        " \u00e9t\u00e9 e\u0301t\u00e9 \u0301x a\x1cb \x00 ",
        "\u4e2d\u6587 a\u4e2db \u00a0x\u2003y \u03a3\u03a3 ",
        "",
    ] * 2
    assert word_counts(texts, split, most_pieces) == Counter(word for text in texts for word in split(text))


def test_the_vocabulary_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Hash seeds differ, the file does not; words are by frequency, then alphabet."""
    program = (
        "import sys; from pathlib import Path; from thriftune.config import EncoderFromConfig; "
        "from thriftune.model.encoder import build_encoder; "
        f"source = EncoderFromConfig.model_validate({TINY.model_dump()!r}); "
        "texts = ['one two two three', 'three four, five! Six', 'seven eight nine ten']; "
        "print(build_encoder(source, lambda: texts, Path(sys.argv[1])).fingerprint)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / seed)],
            env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
    pieces = list(vocabulary({"b": 2, "aa": 2, "c": 5}, 100))
    assert pieces[5:] == ["a", "b", "c", "##a", "##b", "##c", "aa"]
    assert len(vocabulary({"b": 2, "aa": 2, "c": 5}, 7)) == 7
