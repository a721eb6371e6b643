"""benchmarks.simulate against queueing theory and against conservation; the autoscaler's rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.autoscale import Autoscaler, Reading
from benchmarks.simulate import Outcome, Simulation, System, Times, Trace, poisson
from models.packing import BatchRule

PASS = Times(request=0.0, answer=0.0, pass_fixed=0.002, pass_token=0.0001)
RULE = BatchRule(256, overhead=32, workers=2, attention=0.002)
ONE_AT_A_TIME = BatchRule(1, workers=1)


def trace_of(
    rate: float, seconds: float, *, texts: int | None = None, tokens: int = 24, seed: int = 0
) -> Trace:
    """Poisson arrivals of texts that are all different, or drawn of some."""
    random = np.random.default_rng(seed)
    times = poisson(rate, seconds, rate, random)
    count = len(times)
    which = np.arange(count) if texts is None else random.integers(texts, size=count)
    return Trace(times, which, np.full(count, tokens))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_worker_waits_as_pollaczek_and_khinchine_say(load: float) -> None:
    """M/D/1: the mean wait is load * service / (2 * (1 - load))."""
    service = 0.01
    times = replace(PASS, pass_fixed=service, pass_token=0.0)
    system = System(times, ONE_AT_A_TIME, max_queue_s=1e9, max_queued_texts=10**9)
    done = Simulation(system, trace_of(load / service, 250.0)).run()
    wait = float(done.latencies.mean()) - service
    assert wait == pytest.approx(load * service / (2 * (1 - load)), rel=0.15)
    assert done.passes == len(done.latencies)


def test_an_api_loop_is_such_a_queue_too() -> None:
    times = Times(request=0.001, answer=0.0, pass_fixed=0.0, pass_token=0.0)
    trace = trace_of(700.0, 30.0, texts=1)
    done = Simulation(System(times, RULE, max_lag_s=1e9), trace, known=[0]).run()
    assert done.share(Outcome.HIT) == 1.0
    mean = float(done.latencies.mean())
    assert mean == pytest.approx(0.001 + 0.7 * 0.001 / (2 * 0.3), rel=0.1)


@settings(max_examples=25, deadline=None)
@given(
    rate=st.floats(20, 3000),
    texts=st.one_of(st.none(), st.integers(1, 500)),
    encoders=st.integers(1, 3),
    apis=st.integers(1, 3),
    room=st.one_of(st.none(), st.integers(1, 100)),
    seed=st.integers(0, 100),
)
def test_nothing_is_lost_and_littles_law_holds(
    rate: float, texts: int | None, encoders: int, apis: int, room: int | None, seed: int
) -> None:
    times = replace(PASS, request=0.0002, answer=0.0001, aside=0.0005, jitter=(0.5, 1.5))
    system = System(times, RULE, apis=apis, encoders=encoders, cache_room=room, max_queue_s=0.1)
    trace = trace_of(rate, 0.7, texts=texts, seed=seed)
    done = Simulation(system, trace, seed=seed).run()
    assert set(done.outcomes.tolist()) <= set(Outcome)  # each exactly once: -1 is none
    assert (done.latencies >= 0).all()
    # Mean number in the house = rate * mean latency: the two were counted apart.
    assert done.area == pytest.approx(float(done.latencies.sum()), rel=1e-6, abs=1e-9)
    encoded = int((done.outcomes == Outcome.ENCODED).sum())
    assert done.passes <= encoded
    if texts is None:
        assert done.share(Outcome.HIT, Outcome.JOINED) == 0.0
    elif room is None and not done.share(Outcome.REFUSED, Outcome.UNREAD):
        assert encoded <= texts * encoders  # in two at once, where both were as empty


def test_more_load_waits_longer_until_it_is_refused() -> None:
    """Capacity is about 2 workers * 10 texts / (2 ms + 240 * 0.1 ms) = 770 texts/s."""
    system = System(PASS, RULE)
    runs = [Simulation(system, trace_of(rate, 8.0)).run() for rate in (80, 400, 700, 1500)]
    medians = [run.percentile(50) for run in runs]
    assert medians == sorted(medians)
    refused = [run.share(Outcome.REFUSED) for run in runs]
    assert refused[0] == refused[1] == 0.0
    assert refused[3] == pytest.approx(1 - 770 / 1500, abs=0.05)
    answered = runs[3].latencies[runs[3].outcomes == Outcome.ENCODED]
    assert float(np.median(answered)) == pytest.approx(0.25, abs=0.08)  # max_queue_s


def test_a_late_loop_refuses_unread() -> None:
    times = replace(PASS, request=0.01)
    done = Simulation(System(times, RULE), trace_of(1000.0, 5.0, texts=1), known=[0]).run()
    assert done.share(Outcome.UNREAD) > 0.7
    # A hundred in progress are let be, however late: a second of work here.
    assert done.percentile(99) < 1.1


def test_a_text_under_way_is_joined() -> None:
    same = Trace(np.array([0.0, 0.001, 5.0]), np.array([7, 7, 7]), np.full(3, 24))
    done = Simulation(System(PASS, RULE), same).run()
    assert done.outcomes.tolist() == [Outcome.ENCODED, Outcome.JOINED, Outcome.HIT]
    assert done.passes == 1


def test_a_flood_brings_encoders_and_goes() -> None:
    slow = replace(PASS, pass_fixed=0.02, pass_token=0.001)  # 77 texts/s an encoder
    system = System(slow, RULE, encoders=2)
    scaler = Autoscaler(2, 20, utilisation=0.6, start_s=20.0, down_after_s=60.0)

    def rate(moment: float) -> float:
        return 240.0 if 60 <= moment < 150 else 40.0

    times = poisson(rate, 330.0, 240.0, np.random.default_rng(0))
    trace = Trace(times, np.arange(len(times)), np.full(len(times), 24))
    done = Simulation(system, trace, autoscaler=scaler).run()
    ready = {moment: count for moment, count, _ in done.scale}
    assert ready[60.0] == 2
    assert ready[150.0] >= 5
    assert ready[330.0] == 2
    refused = done.outcomes == Outcome.REFUSED
    assert refused[(times > 65) & (times < 90)].mean() > 0.2  # nothing new has started yet
    assert refused[(times > 135) & (times < 150)].mean() < 0.02
    assert set(done.outcomes.tolist()) <= set(Outcome)  # nothing was lost with those that left


def test_the_rule_of_the_autoscaler() -> None:
    def read(moment: float, ready: int, utilisation: float, tokens: float = 0.0) -> Reading:
        return Reading(moment, ready, 0, tokens, utilisation)

    scaler = Autoscaler(1, 10, queued_tokens=1000.0, utilisation=0.5, down_after_s=60.0)
    assert scaler.wanted(read(0, 4, 0.52)) == 4  # within a tenth
    assert scaler.wanted(read(15, 4, 0.75)) == 6
    assert scaler.wanted(read(30, 4, 0.1, tokens=8000.0)) == 8  # the most of both
    assert scaler.wanted(read(45, 8, 0.1)) == 8  # too soon
    assert scaler.wanted(read(91, 8, 0.1)) == 2
    assert scaler.wanted(read(106, 2, 1.0, tokens=1e9)) == 6  # not all at once
    assert scaler.wanted(read(121, 6, 1.0, tokens=1e9)) == 10


@settings(max_examples=50, deadline=None)
@given(
    ready=st.integers(1, 50), low=st.floats(0, 1), high=st.floats(0, 1), tokens=st.floats(0, 1e6)
)
def test_more_work_never_wants_fewer(ready: int, low: float, high: float, tokens: float) -> None:
    low, high = sorted((low, high))
    wants = [
        Autoscaler(1, 100, queued_tokens=500.0).wanted(Reading(0, ready, 0, tokens, one))
        for one in (low, high)
    ]
    assert wants[0] <= wants[1]
