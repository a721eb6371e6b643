"""Tiny encoders with random weights, written as Hugging Face folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
)

WORDS = 60
VOCABULARY = 64
FIRST_WORD = 4  # ids 0 to 3 are special
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}


def words(count: int, start: int = 0) -> str:
    """A text of `count` tokens, special ones not counted."""
    return " ".join(f"w{(start + 7 * number) % WORDS}" for number in range(count))


def write_tokenizer(
    folder: Path, *, special: tuple[str, str, str] = ("[CLS]", "[PAD]", "[SEP]")
) -> Path:
    """One token a word, between the first and the last of `special`; their ids are 0, 1, 2."""
    first, pad, last = special
    vocabulary = {first: 0, pad: 1, last: 2, "<unk>": 3}
    vocabulary |= {f"w{number}": FIRST_WORD + number for number in range(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(first, 0), (last, 2)]
    )
    file = folder / "tokenizer.json"
    tokenizer.save(str(file))
    return file


def write_bert(folder: Path, *, positions: int = 128, seed: int = 0, **fields: Any) -> Path:
    """A BERT whose every weight matters."""
    config = BertConfig(
        **SIZES | {"max_position_embeddings": positions, "pad_token_id": 1} | fields
    )
    torch.manual_seed(seed)
    model = BertModel(config, add_pooling_layer=False)
    return _write(folder, model)


def write_roberta(folder: Path, *, positions: int = 42, seed: int = 0, **fields: Any) -> Path:
    """A RoBERTa: positions start behind the padding id."""
    config = RobertaConfig(
        **SIZES | {"max_position_embeddings": positions, "pad_token_id": 1} | fields
    )
    torch.manual_seed(seed)
    model = RobertaModel(config, add_pooling_layer=False)
    return _write(folder, model)


def write_mpnet(folder: Path, *, positions: int = 42, seed: int = 0, **fields: Any) -> Path:
    """An MPNet: it also knows how far tokens lie from each other."""
    config = MPNetConfig(
        **SIZES | {"max_position_embeddings": positions, "pad_token_id": 1} | fields
    )
    torch.manual_seed(seed)
    return _write(folder, MPNetModel(config, add_pooling_layer=False))


def _write(folder: Path, model: Any) -> Path:
    # As initialized, biases are zero and attention is all but even: mistakes would not show.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def change_config(folder: Path, **fields: Any) -> None:
    (folder / "config.json").write_text(json.dumps(config_of(folder) | fields))


def weights_of(folder: Path) -> dict[str, Any]:
    return dict(load_file(folder / "model.safetensors"))
