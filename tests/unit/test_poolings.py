"""Poolings that are compared over hidden states, and the states kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from transformers import AutoModel

from models.training.encoder.hidden import HiddenStates
from models.training.encoder.loop import TrainingTask
from models.training.encoder.model import Design, MultiTaskEncoder
from models.training.encoder.pooler import Pooler, Pooling
from models.training.encoder.poolings import PLAN, judge, learn, stack_states
from models.training.encoder.suite import Rows, TaskData
from tests.unit.tiny import words

HIDDEN = 6


def states_of(*lengths: int, seed: int = 0) -> list[np.ndarray]:
    chance = np.random.default_rng(seed)
    return [chance.normal(size=(length, 3, HIDDEN)).astype(np.float16) for length in lengths]


def pooler(kind: Pooling, layers: Sequence[int], *, mixed: bool = False) -> Pooler:
    return Pooler(kind, layers, mixed=mixed, hidden_size=HIDDEN)


@pytest.mark.parametrize("kind", get_args(Pooling))
@pytest.mark.parametrize("mixed", [False, True])
def test_a_text_is_pooled_as_if_it_were_alone(kind: Pooling, mixed: bool) -> None:
    """Against numpy over one text's own tokens; learned weights are at their start: equal."""
    rows = states_of(1, 3, 9)
    states, mask = stack_states(rows)
    pooled = pooler(kind, (-1, 0), mixed=mixed)(states.unbind(dim=1), mask).detach().numpy()
    for row, found in zip(rows, pooled, strict=True):
        layers = [row[:, -1].astype(np.float32), row[:, 0].astype(np.float32)]
        if mixed:
            layers = [np.mean(layers, axis=0)]
        expected = []
        for layer in layers:
            if kind == "first-4":
                first = np.zeros((4, HIDDEN), dtype=np.float32)
                first[: len(layer[:4])] = layer[:4]
                expected.append(first.ravel())
            else:
                how: Any = {"mean": np.mean, "attention": np.mean, "max": np.max}
                expected.append(layer[0] if kind == "first" else how[kind](layer, axis=0))
        np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-5)


def test_an_unknown_pooling() -> None:
    with pytest.raises(ValueError, match="'median'; known: mean, first, max, first-4, attention"):
        pooler("median", (-1,))  # type: ignore[arg-type]


def test_learned_weights_are_the_pooling_s_own() -> None:
    assert not list(pooler("mean", (-1, -2)).parameters())
    assert sum(p.numel() for p in pooler("attention", (-1, -2)).parameters()) == 2 * HIDDEN
    assert sum(p.numel() for p in pooler("attention", (0, 1), mixed=True).parameters()) == (
        HIDDEN + 2 + 1
    )


def test_states_are_those_of_each_text_alone(tiny_bert: Path, tmp_path: Path) -> None:
    """Against transformers' own model, a text at a time."""
    model = MultiTaskEncoder(Design(str(tiny_bert)), {})
    hidden = HiddenStates(model, tmp_path)
    texts = [words(n, start=n) for n in (5, 1, 12, 3)]
    found = hidden(texts)
    reference = AutoModel.from_pretrained(tiny_bert, add_pooling_layer=False).eval()
    for text, states in zip(texts, found, strict=True):
        ids = [0, *(4 + int(word[1:]) for word in text.split()), 2]
        with torch.inference_mode():
            layers = reference(input_ids=torch.tensor([ids]), output_hidden_states=True)
        expected = torch.stack(layers.hidden_states, dim=2)[0].numpy()
        assert states.shape == expected.shape
        np.testing.assert_allclose(states, expected, atol=0.1)  # bf16 where it is native
    (file,) = tmp_path.iterdir()
    np.save(file, np.zeros_like(np.load(file)))
    assert not any(states.any() for states in hidden(texts))


class PlantedStates:
    """In place of hidden states: a text `+` or `-` has one loud token among others."""

    def __init__(self) -> None:
        self.chance = np.random.default_rng(0)

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        rows = []
        for text in texts:
            states = self.chance.normal(size=(12, 1, HIDDEN))
            loud = self.chance.integers(1, 12)
            states[loud, 0, 0] = 8.0  # what attention can find it by
            states[loud, 0, 1] = 4.0 if text == "+" else -4.0
            rows.append(states.astype(np.float16))
        return rows


def test_attention_finds_the_token_that_matters() -> None:
    """The first token says nothing; the mean says it faintly; learned attention reads it."""
    planted: Any = PlantedStates()
    chance = np.random.default_rng(1)

    def some(count: int) -> Rows:
        targets = chance.integers(0, 2, count)
        return Rows(["+" if target else "-" for target in targets], targets)

    train, validation = some(600), some(100)
    task = TrainingTask(
        "planted",
        planted(train.texts),
        train.targets,
        None,
        planted(validation.texts),
        validation.targets,
        2,
    )
    splits: Any = {"train": some(200), "validation": some(100), "test": some(400)}
    judges = [TaskData("unseen", ("-", "+"), splits)]
    plan = replace(PLAN, steps=150, texts=32, at_once=32, head_rate=3e-2)
    scores = {}
    kinds: tuple[Pooling, ...] = ("first", "mean", "attention")
    for kind in kinds:
        design = Design("", layers=(0,), pooling=kind, bits=8, noise=0.0)
        code = learn(design, plan, [task])
        scores[kind] = judge(code, judges, planted, planted(some(100).texts))["bits"]
    assert scores["first"] < 65 < scores["mean"]
    assert scores["attention"] > scores["mean"] + 2
