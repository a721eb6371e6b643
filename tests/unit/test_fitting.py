"""models.training.encoder.fitting and classifier: batches, rates, learning, what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import AutoModel, get_linear_schedule_with_warmup

from models.tokens import Ids
from models.training.encoder.classifier import (
    ClassifierTask,
    RowLimits,
    TextClassifier,
    load_backbone,
    tokenize_task,
)
from models.training.encoder.finetune import hard_loss
from models.training.encoder.fitting import (
    POOL,
    FitPlan,
    batches_by_length,
    epochs_for,
    fit,
    outputs_of,
    share_of_rate,
)
from models.training.encoder.suite import Rows as TextRows
from models.training.encoder.suite import TaskData
from tests.unit.tiny import FIRST_WORD, VOCABULARY, words

PLAN = FitPlan(epochs=4, least_steps=0, texts=8, at_once=4, rate=3e-3, head_rate=1e-2)


def rows_of(count: int, seed: int = 0) -> tuple[list[Ids], NDArray[np.int64]]:
    """Texts of 2 to 12 words between special tokens, and of which half of the vocabulary."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, 2, count)
    half = (VOCABULARY - FIRST_WORD) // 2
    starts = FIRST_WORD + half * targets
    rows = [
        np.array([0, *random.integers(start, start + half, random.integers(2, 13)), 2], np.int32)
        for start in starts
    ]
    return rows, targets


def a_task(count: int = 96) -> ClassifierTask:
    splits = {"train": rows_of(count), "validation": rows_of(60, 1), "test": rows_of(60, 2)}
    ids: Any = {split: rows for split, (rows, _) in splits.items()}
    targets: Any = {split: wanted for split, (_, wanted) in splits.items()}
    return ClassifierTask("rule", ("low", "high"), ids, targets)


def classifier(folder: Path, outputs: int = 2) -> TextClassifier:
    torch.manual_seed(0)
    return TextClassifier(load_backbone(folder), outputs)


class TestBatches:
    @given(
        st.lists(st.integers(1, 60), min_size=1, max_size=300),
        st.integers(1, 6),
        st.integers(1, 4),
        st.integers(0, 5),
    )
    def test_every_row_once(self, lengths: list[int], at_once: int, passes: int, seed: int) -> None:
        texts = at_once * passes
        steps = list(
            batches_by_length(np.array(lengths), texts, at_once, np.random.default_rng(seed))
        )
        taken = np.concatenate([some for step in steps for some in step])
        assert sorted(taken.tolist()) == list(range(len(lengths)))
        assert all(len(step) <= passes for step in steps)
        assert all(1 <= len(some) <= at_once for step in steps for some in step)
        # As many steps as the schedule counts on.
        assert len(steps) == -(-len(lengths) // texts)

    def test_little_is_padding_and_steps_are_mixed(self) -> None:
        lengths = np.random.default_rng(0).integers(5, 64, 2000)
        steps = list(batches_by_length(lengths, 32, 16, np.random.default_rng(0)))
        padded = sum(int(lengths[some].max()) * len(some) for step in steps for some in step)
        assert padded < 1.1 * lengths.sum()
        means = [lengths[np.concatenate(step)].mean() for step in steps[:-1]]
        sorted_steps = np.sort(lengths)[: len(means) * 32].reshape(-1, 32).mean(axis=1)
        assert np.std(means) < 0.85 * np.std(sorted_steps)

    def test_pools_are_shuffled(self) -> None:
        lengths = np.full(2 * POOL * 32, 7)
        chance = np.random.default_rng(0)
        orders = [
            np.concatenate(sum(batches_by_length(lengths, 32, 16, chance), []))  # noqa: RUF017
            for _ in range(2)
        ]
        assert not np.array_equal(*orders)
        assert orders[0][: POOL * 32].max() > POOL * 32


class TestRates:
    def test_as_transformers_does(self) -> None:
        """After the warm-up, which here starts one step further: no step is at a rate of zero."""
        steps, warm_up = 50, 0.2
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        schedule = get_linear_schedule_with_warmup(optimizer, 10, steps)
        for step in range(steps):
            ours = share_of_rate(step, steps, warm_up)
            if step >= 10:
                assert ours == pytest.approx(schedule.get_last_lr()[0])
            else:
                assert ours == pytest.approx((step + 1) / 10)
            optimizer.step()
            schedule.step()

    def test_few_rows_get_more_epochs(self) -> None:
        plan = FitPlan(epochs=3, least_steps=100, texts=32)
        assert epochs_for(32 * 50, plan) == 3
        assert epochs_for(32 * 10, plan) == 10
        assert epochs_for(1, plan) == 100


class TestFit:
    def test_learns_a_rule(self, tiny_bert: Path) -> None:
        task, network = a_task(), classifier(tiny_bert)
        loss = hard_loss(task.targets["train"])
        fitted = fit(
            network, task.ids["train"], loss, PLAN, lambda: task.accuracy(network, "validation")
        )
        assert task.accuracy(network, "test") > 90
        assert fitted.score == task.accuracy(network, "validation")
        assert fitted.seconds > 0
        assert not network.training

    def test_keeps_the_best_and_ends_without_better(self, tiny_bert: Path) -> None:
        task, network = a_task(40), classifier(tiny_bert)
        scores = iter([1.0, 3.0, 2.0, 2.5, 9.0])
        weights = []

        def score() -> float:
            weights.append(network.head.weight.detach().clone())
            return next(scores)

        fitted = fit(network, task.ids["train"], hard_loss(task.targets["train"]), PLAN, score)
        assert (fitted.score, fitted.best_epoch, fitted.epochs) == (3.0, 2, 4)
        assert torch.equal(network.head.weight, weights[1])
        assert not torch.equal(weights[1], weights[3])

    def test_every_weight_is_trained(self, tiny_bert: Path) -> None:
        task, network = a_task(24), classifier(tiny_bert)
        before = {name: value.clone() for name, value in network.named_parameters()}
        fit(network, task.ids["train"], hard_loss(task.targets["train"]), PLAN)
        # A key's bias moves all scores of a query alike: softmax takes it out, its gradient is 0.
        same = [
            name
            for name, value in network.named_parameters()
            if torch.equal(value, before[name]) and not name.endswith("key.bias")
        ]
        assert same == []

    def test_again_gives_the_same(self, tiny_bert: Path) -> None:
        task = a_task(40)
        outputs = []
        for _ in range(2):
            network = classifier(tiny_bert)
            fit(network, task.ids["train"], hard_loss(task.targets["train"]), PLAN)
            outputs.append(outputs_of(network, task.ids["test"]))
        np.testing.assert_array_equal(*outputs)

    def test_no_rows(self, tiny_bert: Path) -> None:
        with pytest.raises(ValueError, match="no rows"):
            fit(classifier(tiny_bert), [], hard_loss(np.zeros(0, np.int64)), PLAN)


class TestClassifier:
    def test_against_numpy(self, tiny_bert: Path) -> None:
        """The mean over a text's own tokens, then the linear layer; one text at a time, in fp32."""
        network, rows = classifier(tiny_bert, outputs=3), rows_of(40, 3)[0]
        reference = AutoModel.from_pretrained(tiny_bert, attn_implementation="eager").eval()
        weight, bias = (value.detach().numpy() for value in network.head.parameters())
        expected = []
        for row in rows:
            with torch.inference_mode():
                states = reference(input_ids=torch.from_numpy(row).long()[None]).last_hidden_state
            expected.append(states[0].numpy().mean(axis=0) @ weight.T + bias)
        got = outputs_of(network, rows, at_once=7)
        assert got.dtype == np.float32
        # bf16 has eight bits.
        np.testing.assert_allclose(got, np.array(expected), atol=0.03)

    def test_only_training_texts_are_cut_short(self, tiny_bert: Path) -> None:
        texts = TextRows([words(30), words(3)], np.array([0, 1]))
        task = TaskData("t", ("a", "b"), {"train": texts, "validation": texts, "test": texts})
        limits = RowLimits(max_tokens=8, test_tokens=20)
        made = tokenize_task(task, tiny_bert / "tokenizer.json", limits)
        assert [len(row) for row in made.ids["train"]] == [8, 5]
        assert [len(row) for row in made.ids["validation"]] == [20, 5]
        assert [len(row) for row in made.ids["test"]] == [20, 5]
        assert made.targets["test"].tolist() == [0, 1]
