"""Quantizers learned on embeddings, and the embeddings themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

from models.training.encoder.embedder import Embedder, blended, untrained
from models.training.encoder.loop import TrainingTask
from models.training.encoder.model import Design, MultiTaskEncoder
from models.training.encoder.quantizers import (
    PLAN,
    Scale,
    UnseenTask,
    baselines,
    judge,
    learn,
    mean_accuracies,
)
from tests.unit.tiny import words

WIDTH, USEFUL = 40, 3


def rows(count: int, chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Three directions matter, the others are louder."""
    values = chance.normal(size=(count, WIDTH)).astype(np.float32)
    return values, values[:, :USEFUL]


def seen_task(number: int) -> TrainingTask:
    chance = np.random.default_rng(number)
    values, useful = rows(900, chance)
    targets = (useful @ chance.normal(size=USEFUL) > 0).astype(np.int64)
    return TrainingTask(
        f"task {number}", values[:800], targets[:800], None, values[800:], targets[800:], 2
    )


@pytest.fixture(scope="module")
def judges() -> list[UnseenTask]:
    chance = np.random.default_rng(99)
    embeddings, targets = {}, {}
    direction = chance.normal(size=USEFUL)
    for split, count in (("train", 300), ("validation", 100), ("test", 400)):
        embeddings[split], useful = rows(count, chance)
        targets[split] = (useful @ direction > 0).astype(np.int64)
    return [UnseenTask("unseen", embeddings, targets)]


def test_a_learned_projection_keeps_what_tasks_ask_for(judges: list[UnseenTask]) -> None:
    """Sixteen bits: a random rotation spends them on what no task asks for."""
    plan = replace(PLAN, steps=400, head_rate=1e-2, texts=64, at_once=64, keep=0.0)
    tasks = [seen_task(number) for number in range(6)]
    code = learn(Design("", bits=16, noise=0.0), plan, tasks)
    calibration = rows(500, np.random.default_rng(7))[0]
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(WIDTH, WIDTH)))[0][:, :16]
    rotated = mean_accuracies(lambda x: x @ rotation.astype(np.float32), judges, calibration)
    assert judge(code, judges, calibration)["bits"] > max(75.0, rotated["bits"] + 8)


def test_planted_dimensions_are_read_better_than_a_rotation(judges: list[UnseenTask]) -> None:
    scores = baselines(judges, rows(500, np.random.default_rng(7))[0])
    own, rotated = scores["own dimensions"][0], scores["rotated"][0]
    assert own["floats"] > 85
    assert own["bits"] > rotated["bits"]


def test_a_scale() -> None:
    raw = np.random.default_rng(0).normal(3, 5, size=(50, 4)).astype(np.float32)
    scaled = Scale(raw.mean(axis=0), raw.std(axis=0))(raw)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-5)


def test_embeddings_are_those_of_each_text_alone(tiny_bert: Path, tmp_path: Path) -> None:
    """Against transformers' own model: the mean over tokens of each wanted layer."""
    model = MultiTaskEncoder(Design(str(tiny_bert), layers=(-2, -1)), {})
    embed = Embedder(model, tmp_path)
    texts = [words(n, start=n) for n in (5, 1, 12, 3)]
    found = embed(texts)
    reference = AutoModel.from_pretrained(tiny_bert, add_pooling_layer=False).eval()
    for text, row in zip(texts, found, strict=True):
        ids = [0, *(4 + int(word[1:]) for word in text.split()), 2]
        with torch.inference_mode():
            hidden = reference(
                input_ids=torch.tensor([ids]), output_hidden_states=True
            ).hidden_states
        expected = torch.cat([hidden[layer][0].mean(dim=0) for layer in (-2, -1)])
        np.testing.assert_allclose(row, expected.numpy(), atol=0.05)  # bf16 where it is native
    (file,) = tmp_path.iterdir()
    np.save(file, np.zeros_like(found))
    assert not embed(texts).any()
    assert embed(texts[:2]).any()


def test_a_blend_lies_between() -> None:
    start = untrained()
    model = untrained()
    with torch.no_grad():
        for parameter in model.backbone.encoder.parameters():
            parameter.add_(1.0)
    name = "backbone.encoder.layer.0.output.dense.bias"
    before = start.state_dict()[name]
    half = blended(model, 0.25).state_dict()
    torch.testing.assert_close(half[name], before + 0.25)
    words_name = "backbone.embeddings.word_embeddings.weight"
    assert torch.equal(half[words_name], start.state_dict()[words_name])
