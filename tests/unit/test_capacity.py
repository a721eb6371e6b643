"""benchmarks.capacity: sums by hand, what grows with what, and the tables that are published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.capacity import (
    DAY_S,
    GIB,
    Policy,
    Traffic,
    card_pays_from,
    cheapest,
    hits_of,
    plan,
    separate_dollars,
    worth_keeping_s,
)
from benchmarks.capacity_figures import Prices, Rates
from benchmarks.capacity_tables import tables

ROOT = Path(__file__).parents[2]
traffics = st.builds(
    Traffic,
    texts_a_day=st.floats(1e3, 1e11),
    tasks=st.integers(1, 2000),
    peak=st.floats(1.0, 10.0),
    unique=st.floats(0.0, 1.0),
    exponent=st.floats(0.5, 1.3),
    texts_a_request=st.floats(1, 256),
)


def test_by_hand() -> None:
    """All new texts: each is a pass; nothing comes from anywhere else."""
    rates = Rates(
        encoder_texts_a_core=100.0,
        api_s_a_text=0.001,
        api_s_a_task=0.0001,
        api_s_a_request=0.002,
        answer_bytes_a_task=50.0,
        string_bytes=300.0,
        redis_s_a_read=1e-5,
        redis_s_a_write=3e-5,
    )
    traffic = Traffic(DAY_S * 1000, tasks=10, peak=2.0, unique=1.0, texts_a_request=2.0)
    policy = Policy(life_days=0.5, replicas=1, utilisation=0.5)
    made = plan(traffic, policy, rates, Prices(core_hour=0.1, memory_gib_hour=0.01))
    assert made.hit_ratio == 0.0
    assert made.peak_texts_s == pytest.approx(2000.0)
    assert made.encoder_cores == 40  # 2000 / 100 / 0.5
    assert made.api_cores == 12  # 2000 * (0.001 + 0.001 + 0.001) / 0.5
    assert made.redis_gib == pytest.approx(DAY_S * 500 * 300 * 2 / GIB)
    assert made.redis_ops_s == pytest.approx(4000.0)
    assert made.redis_cores == 1  # 2000 * 40 us / 0.5 = 0.16
    assert made.out_gbit_s == pytest.approx(2000 * 500 * 8 / 1e9)
    assert made.dollars["encoder"] == pytest.approx(40 * 0.1 * 730)
    assert made.dollars["redis"] == pytest.approx(made.redis_gib * 0.01 * 730)
    assert made.machines == 4 + 1  # 52 cores by 16, 24 GiB
    assert made.dominant == "encoder"


@settings(max_examples=40, deadline=None)
@given(traffic=traffics, more=st.floats(1.0, 100.0))
def test_more_traffic_never_takes_less(traffic: Traffic, more: float) -> None:
    """At one shape: what is drawn from grows with what is asked."""
    low, high = plan(traffic), plan(replace(traffic, texts_a_day=traffic.texts_a_day * more))
    assert high.api_cores >= low.api_cores
    assert high.redis_ops_s >= low.redis_ops_s * 0.999
    busier = plan(replace(traffic, peak=traffic.peak * more))
    assert busier.encoder_cores >= low.encoder_cores
    assert busier.machines >= low.machines
    assert busier.total >= low.total
    assert busier.redis_gib == low.redis_gib


@settings(max_examples=30, deadline=None)
@given(traffic=traffics)
def test_directions(traffic: Traffic) -> None:
    hits, codes = hits_of(traffic, Policy(), Rates())
    assert 0.0 <= hits <= 1.0 - traffic.unique + 1e-9
    assert codes <= traffic.texts_a_day * 1.001  # that live a day
    longer, _ = hits_of(traffic, Policy(life_days=7.0), Rates())
    assert longer >= hits - 1e-9
    one = plan(traffic)
    assert plan(replace(traffic, tasks=traffic.tasks + 1)).encoder_cores == one.encoder_cores
    assert cheapest(traffic)[1].total <= one.total + 1e-6
    packed = plan(traffic, Policy(layout="packed"))
    assert packed.redis_gib <= one.redis_gib
    assert plan(traffic, encoders="cards").encoder_cores == 0
    twice = separate_dollars(replace(traffic, tasks=2 * traffic.tasks))
    assert twice == pytest.approx(2 * separate_dollars(traffic))


def test_a_memory_limit_costs_hits() -> None:
    traffic = Traffic(1e10, 10)
    free = plan(traffic)
    tight = plan(traffic, Policy(memory_gib=free.redis_gib / 2 / 4))  # of one copy a quarter
    assert tight.redis_gib == pytest.approx(free.redis_gib / 4, rel=1e-3)
    assert tight.hit_ratio < free.hit_ratio
    assert tight.encoder_cores > free.encoder_cores


def test_what_is_worth_its_memory() -> None:
    """A pass of 1 / 387 / 0.6 core-seconds at $0.04 an hour, two copies of 302 bytes."""
    seconds = (0.04 / 387 / 0.6) / (2 * 302 / GIB * 0.006)
    assert worth_keeping_s() == pytest.approx(seconds)
    assert card_pays_from() == pytest.approx(4.0 / 0.04 * 387)


def test_the_published_tables_are_those_of_the_model() -> None:
    published = (ROOT / "docs" / "capacity.md").read_text().splitlines()
    missing = [line for line in tables() if line not in published]
    assert not missing, "python -m benchmarks.capacity_tables prints them"
