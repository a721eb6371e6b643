"""app.tasks.drift: what is kept of live traffic, how much of it, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.metrics import Metrics
from app.tasks import drift as module
from app.tasks.drift import WINDOW, DriftWatch
from app.tasks.plans import Plan
from app.tasks.registry import Registry
from models.codes import Codes
from models.head_artifact import HeadManifest
from models.reference import make_reference

BITS = 64


class Traffic:
    """A watch over tasks `a` and `b` of one training set, with a clock that tests set."""

    def __init__(self, root: Path, manifest: HeadManifest, head: Any, train: Codes) -> None:
        self.now = 1_000.0
        self.registry = Registry(root)
        self.metrics = Metrics()
        self.watch = DriftWatch(self.registry, self.metrics)
        self._sent = 0
        for name in ("a", "b"):
            self.registry.create(name, "single_label", ["a", "b"], None)
            reference = make_reference(train, np.array([len(train), 0]))
            self.registry.add_version(name, manifest, head, reference=reference)
            self.registry.activate(name, 1)

    def send(self, count: int, *names: str, encoder: str = "f1") -> None:
        codes = np.random.default_rng(self._sent).integers(0, 256, (count, BITS // 8), np.uint8)
        self._sent += 1
        rows = [code.tobytes() for code in codes]
        self.watch.note(Plan((), None, (), names, None), encoder, rows)

    async def texts(self, name: str) -> int:
        return (await self.watch.report(self.registry.snapshot.get(name))).texts


@pytest.fixture
def traffic(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_manifest: Callable[..., HeadManifest],
    make_head: Callable[..., Any],
    random_codes: Callable[..., Codes],
) -> Traffic:
    head = make_head(bits=BITS)
    made = Traffic(tmp_path, make_manifest(bits=BITS), head, random_codes(200, BITS, 99))
    monkeypatch.setattr(module.time, "monotonic", lambda: made.now)
    return made


async def test_each_task_has_the_texts_asked_of_it(traffic: Traffic) -> None:
    traffic.send(10, "a", "b")
    traffic.send(30, "a")
    assert (await traffic.texts("a"), await traffic.texts("b")) == (40, 10)


async def test_a_window_is_bounded_and_then_sampled(traffic: Traffic) -> None:
    for _ in range(30):
        traffic.send(100, "a")
    assert await traffic.texts("a") == WINDOW
    kept = set(traffic.watch._windows["a"].codes)
    traffic.send(100, "a")  # at once: nothing is taken
    assert set(traffic.watch._windows["a"].codes) == kept
    traffic.now += 2
    traffic.send(100, "a")
    assert len(set(traffic.watch._windows["a"].codes) - kept) == 2 * module.PER_SECOND


async def test_of_a_large_request_texts_from_all_over_it_are_kept(traffic: Traffic) -> None:
    codes = [number.to_bytes(8, "big") for number in range(10 * WINDOW)]
    traffic.watch.note(Plan((), None, (), ("a",), None), "f1", codes)
    kept = [int.from_bytes(code, "big") for code in traffic.watch._windows["a"].codes]
    assert kept == list(range(0, 10 * WINDOW, 10))


async def test_codes_of_another_encoder_begin_a_window_anew(traffic: Traffic) -> None:
    traffic.send(50, "a", encoder="f0")
    traffic.send(5, "a")
    assert await traffic.texts("a") == 5
    traffic.send(50, "a", encoder="f0")  # not one that the version reads
    found = await traffic.watch.report(traffic.registry.snapshot.get("a"))
    assert found.drift is None


async def test_windows_and_sets_of_tasks_are_bounded(
    traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_TASKS", 3)
    monkeypatch.setattr(module, "MAX_SETS", 4)
    for number in range(10):
        traffic.send(5, f"task-{number}")
    assert list(traffic.watch._windows) == ["task-7", "task-8", "task-9"]
    assert len(traffic.watch._buckets) == 4


async def test_gauges_are_of_tasks_that_have_a_number(traffic: Traffic) -> None:
    traffic.send(100, "a", "b")
    traffic.send(100, "gone")
    assert set(await traffic.watch.publish()) == {"a", "b"}
    text = traffic.metrics.exposition().decode()
    assert 'polyhead_task_drift{task="a"}' in text
    assert 'polyhead_task_drift_distance{task="b"}' in text
    traffic.registry.delete("a")
    await traffic.watch.publish()
    assert 'polyhead_task_drift{task="a"}' not in traffic.metrics.exposition().decode()


async def test_a_damaged_reference_is_no_number_and_no_error(
    traffic: Traffic, tmp_path: Path
) -> None:
    (tmp_path / "a/versions/000001/reference.safetensors").write_bytes(b"damaged")
    traffic.send(100, "a")
    found = await traffic.watch.report(traffic.registry.snapshot.get("a"))
    assert found.drift is None
    assert found.reason == "version 1 has no bit frequencies of 20 or more training rows"
