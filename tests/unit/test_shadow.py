"""app.tasks.shadow: what two versions answer differently, against counting one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from app.errors import NotFound
from app.metrics import Metrics, value_of
from app.schemas import VersionSettings
from app.tasks import shadow as module
from app.tasks.plans import Plan, plan_for
from app.tasks.shadow import ShadowTraffic
from app.tasks.state import Snapshot, TaskState
from models.codes import Codes
from models.comparison import wilson_interval
from models.head_artifact import HeadManifest
from models.head_runtime import LinearHead, TaskKind

BITS = 16
Make = Callable[..., Snapshot]


@pytest.fixture
def snapshot(make_manifest: Callable[..., HeadManifest]) -> Make:
    """A task `mood` of two random heads: version 1 active, version 2 its shadow."""

    def make(kind: TaskKind = "single_label", **settings: Any) -> Snapshot:
        labels = ("value",) if kind == "regression" else ("a", "b", "c")
        rng = np.random.default_rng(0)

        def head() -> LinearHead:
            weight = rng.normal(size=(BITS, len(labels))).astype(np.float32)
            return LinearHead(weight, np.zeros(len(labels), dtype=np.float32))

        manifest = make_manifest(kind=kind, labels=labels, bits=BITS, encoders={"f1": {}})
        state = TaskState(
            name="mood",
            kind=kind,
            labels=labels,
            description=None,
            ready_made=False,
            created_at=1.0,
            versions=MappingProxyType({1: manifest, 2: manifest}),
            active=1,
            head=head(),
            settings=MappingProxyType({2: VersionSettings(**settings)} if settings else {}),
            shadow=2,
            shadow_head=head(),
        )
        return Snapshot(MappingProxyType({"mood": state}))

    return make


def answers(plan: Plan, codes: Codes) -> list[dict[str, Any]]:
    return [row["mood"] for row in plan.predict([code.tobytes() for code in codes], False)]


def note(traffic: ShadowTraffic, plan: Plan, codes: Codes) -> None:
    rows = [code.tobytes() for code in codes]
    digests = [bytes(14) + bytes([number // 256, number % 256]) for number in range(len(rows))]
    traffic.note(plan, digests, rows, plan.predict(rows, False))


async def test_disagreements_are_counted(
    snapshot: Make, random_codes: Callable[..., Codes]
) -> None:
    metrics = Metrics()
    traffic = ShadowTraffic(metrics)
    held = snapshot()
    plan = plan_for(held, None, "f1", BITS)
    [shadow] = plan.shadows
    codes = random_codes(300, BITS)
    for start in range(0, 300, 50):
        note(traffic, plan, codes[start : start + 50])
    await traffic.settled()
    report = traffic.report(held.get("mood"))

    pairs = Counter(
        (one["label"], other["label"])
        for one, other in zip(answers(plan, codes), answers(shadow.plan, codes), strict=True)
        if one["label"] != other["label"]
    )
    assert 0 < pairs.total() < 300
    assert (report.texts, report.disagreements, report.dropped) == (300, pairs.total(), 0)
    assert report.rate == pairs.total() / 300
    assert report.interval == list(wilson_interval(pairs.total(), 300))
    assert {(one.active, one.shadow): one.count for one in report.pairs} == pairs
    assert len(report.examples) == module.SHOWN_EXAMPLES
    assert report.mean_difference is None
    assert value_of(metrics.shadow_texts) == 300
    assert value_of(metrics.shadow_disagreements) == pairs.total()


async def test_being_not_sure_is_an_answer_of_its_own(
    snapshot: Make, random_codes: Callable[..., Codes]
) -> None:
    traffic = ShadowTraffic(Metrics())
    held = snapshot(min_confidence=1.0)
    note(traffic, plan_for(held, None, "f1", BITS), random_codes(20, BITS))
    await traffic.settled()
    report = traffic.report(held.get("mood"))
    assert (report.texts, report.rate) == (20, 1.0)
    assert {one.shadow for one in report.pairs} == {None}


async def test_sets_of_labels_differ_as_a_whole(
    snapshot: Make, random_codes: Callable[..., Codes]
) -> None:
    traffic = ShadowTraffic(Metrics())
    held = snapshot("multi_label")
    plan = plan_for(held, None, "f1", BITS)
    codes = random_codes(60, BITS)
    note(traffic, plan, codes)
    await traffic.settled()
    report = traffic.report(held.get("mood"))
    both = zip(answers(plan, codes), answers(plan.shadows[0].plan, codes), strict=True)
    assert report.disagreements == sum(one["labels"] != other["labels"] for one, other in both)
    assert all(isinstance(one.active, list) for one in report.pairs)


async def test_of_numbers_the_difference_is_told(
    snapshot: Make, random_codes: Callable[..., Codes]
) -> None:
    traffic = ShadowTraffic(Metrics())
    held = snapshot("regression")
    plan = plan_for(held, None, "f1", BITS)
    codes = random_codes(60, BITS)
    note(traffic, plan, codes)
    await traffic.settled()
    report = traffic.report(held.get("mood"))
    both = zip(answers(plan, codes), answers(plan.shadows[0].plan, codes), strict=True)
    differences = [other["value"] - one["value"] for one, other in both]
    assert (report.disagreements, report.rate, report.pairs) == (None, None, [])
    assert report.mean_difference == pytest.approx(np.mean(differences))
    assert report.mean_absolute_difference == pytest.approx(np.mean(np.abs(differences)))


async def test_what_is_too_much_is_dropped_and_told(
    snapshot: Make, random_codes: Callable[..., Codes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 25)
    traffic = ShadowTraffic(Metrics())
    held = snapshot()
    plan = plan_for(held, None, "f1", BITS)
    for _ in range(3):
        note(traffic, plan, random_codes(10, BITS))
    await traffic.settled()
    note(traffic, plan, random_codes(10, BITS))
    await traffic.settled()
    report = traffic.report(held.get("mood"))
    assert (report.texts, report.dropped) == (30, 10)


async def test_other_versions_begin_anew(
    snapshot: Make, random_codes: Callable[..., Codes]
) -> None:
    traffic = ShadowTraffic(Metrics())
    held = snapshot()
    state = held.get("mood")
    note(traffic, plan_for(held, None, "f1", BITS), random_codes(10, BITS))
    await traffic.settled()
    for changed in (
        replace(state, active=2, shadow=1),
        replace(state, created_at=2.0),
    ):
        report = traffic.report(changed)
        assert (report.texts, report.rate, report.since) == (0, None, None)
    traffic.forget("mood")
    assert traffic.report(state).texts == 0
    with pytest.raises(NotFound):
        traffic.report(replace(state, shadow=None))


async def test_a_fault_does_not_end_it(
    snapshot: Make, random_codes: Callable[..., Codes], monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = ShadowTraffic(Metrics())
    held = snapshot()
    plan = plan_for(held, None, "f1", BITS)
    with monkeypatch.context() as patch:
        patch.setattr(ShadowTraffic, "_compare", lambda *_: 1 / 0)
        note(traffic, plan, random_codes(10, BITS))
        await traffic.settled()
    note(traffic, plan, random_codes(10, BITS))
    await traffic.settled()
    assert traffic.report(held.get("mood")).texts == 10


def test_a_shadow_of_another_encoder_is_not_asked(
    snapshot: Make, make_manifest: Callable[..., HeadManifest]
) -> None:
    held = snapshot()
    state = held.get("mood")
    other = make_manifest(labels=state.labels, bits=BITS, encoders={"f2": {}})
    changed = replace(state, versions=MappingProxyType({**state.versions, 2: other}))
    plan = plan_for(Snapshot(MappingProxyType({"mood": changed})), None, "f1", BITS)
    assert plan.shadows == ()
