"""app.tasks.drift: what is kept of live traffic, how much of it, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.metrics import Metrics
from app.tasks import drift as drift_module
from app.tasks import drift_windows as module
from app.tasks.drift import DriftWatch
from app.tasks.drift_windows import KEEP_S, WINDOW, still_hold
from app.tasks.plans import Plan
from app.tasks.registry import Registry
from app.tasks.storage.folder import FolderStorage
from models.codes import Codes
from models.example_rows import TEST, TRAIN, ExampleRows, join_rows
from models.head_artifact import HeadManifest
from models.reference import REFERENCE, make_reference

BITS = 64


class Traffic:
    """A watch over tasks `a` and `b` of one training set, with a clock that tests set."""

    def __init__(self, root: Path, manifest: HeadManifest, head: Any, train: Codes) -> None:
        self.now = 1_000.0
        self.registry = Registry(FolderStorage(root))
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

    def kept(self, name: str) -> list[bytes]:
        window = self.watch._windows.get(name, 0.0)
        return list(window.codes) if window else []

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
    kept = set(traffic.kept("a"))
    traffic.send(100, "a")  # at once: nothing is taken
    assert set(traffic.kept("a")) == kept
    traffic.now += 2
    traffic.send(100, "a")
    assert len(set(traffic.kept("a")) - kept) == 2 * module.PER_SECOND


async def test_of_a_large_request_texts_from_all_over_it_are_kept(traffic: Traffic) -> None:
    codes = [number.to_bytes(8, "big") for number in range(10 * WINDOW)]
    traffic.watch.note(Plan((), None, (), ("a",), None), "f1", codes)
    kept = [int.from_bytes(code, "big") for code in traffic.kept("a")]
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
    assert traffic.watch._windows.names() == ["task-7", "task-8", "task-9"]
    assert len(traffic.watch._windows._buckets) == 4


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


@given(st.integers(0, 5_000), st.integers(0, 5_000), st.floats(0, 100))
def test_figures_hold_until_an_eighth_more_or_ten_seconds(
    counted: int, new: int, age_s: float
) -> None:
    holds = still_hold(counted, counted + new, age_s)
    if new == 0:
        assert holds
    elif age_s >= KEEP_S:
        assert not holds
    elif counted >= WINDOW:
        assert holds
    else:
        assert holds == (new < counted / 8)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=200))
def test_a_window_that_fills_is_counted_a_few_dozen_times(sizes: list[int]) -> None:
    counted = noted = counts = 0
    for size in sizes:
        noted += size
        if not still_hold(counted, noted, 0.0):
            counted, counts = noted, counts + 1
    # Once for each of the first eight texts, then growing by an eighth up to the window.
    assert counts <= 8 + np.log(WINDOW / 8) / np.log(9 / 8) + 1


async def test_looking_again_counts_nothing_again(
    traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []

    def counting(codes: Codes) -> Any:
        counts.append(len(codes))
        return real(codes)

    real = drift_module.count_ones
    monkeypatch.setattr(drift_module, "count_ones", counting)
    traffic.send(WINDOW, "a", "b")  # the two share their codes
    for _ in range(3):
        await traffic.watch.publish()
    assert counts == [WINDOW]
    before = await traffic.watch.report(traffic.registry.snapshot.get("a"))
    assert before.answers is not None  # which gauges do not need
    assert len(counts) == 2
    traffic.now += KEEP_S / 2
    traffic.send(20, "a", "b")
    await traffic.watch.publish()
    assert await traffic.watch.report(traffic.registry.snapshot.get("a")) == before
    assert len(counts) == 2
    traffic.now += KEEP_S / 2
    after = await traffic.watch.report(traffic.registry.snapshot.get("a"))
    assert after.drift != before.drift
    assert len(counts) == 3


async def test_another_active_version_is_seen_at_once(
    traffic: Traffic,
    make_manifest: Callable[..., HeadManifest],
    make_head: Callable[..., Any],
    random_codes: Callable[..., Codes],
) -> None:
    traffic.send(100, "a")
    assert (await traffic.watch.report(traffic.registry.snapshot.get("a"))).training_rows == 200
    reference = make_reference(random_codes(50, BITS, 7))
    head = make_head(bits=BITS)
    traffic.registry.add_version("a", make_manifest(bits=BITS), head, reference=reference)
    traffic.registry.activate("a", 2)
    assert (await traffic.watch.report(traffic.registry.snapshot.get("a"))).training_rows == 50


async def test_a_reference_that_was_not_stored_is_made_of_the_training_rows(
    traffic: Traffic,
    make_manifest: Callable[..., HeadManifest],
    make_head: Callable[..., Any],
    random_codes: Callable[..., Codes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, test = random_codes(200, BITS, 99), random_codes(80, BITS, 98)
    rows = join_rows(
        [
            ExampleRows.of(train, np.zeros(200, dtype=np.int64), TRAIN),
            ExampleRows.of(test, np.zeros(80, dtype=np.int64), TEST),
        ]
    )
    traffic.registry.create("c", "single_label", ["a", "b"], None)
    traffic.registry.add_version("c", make_manifest(bits=BITS), make_head(bits=BITS), rows)
    traffic.registry.activate("c", 1)
    assert not (tmp_path / "c/versions/000001" / REFERENCE).exists()
    traffic.send(100, "a", "c")

    monkeypatch.setattr(drift_module, "MAKING_S", -1.0)  # a look that has no time for it
    found = await traffic.watch.report(traffic.registry.snapshot.get("c"))
    assert (found.drift, found.training_rows) == (None, None)
    assert found.reason == "the training rows of version 1 are yet to be counted"
    monkeypatch.setattr(drift_module, "MAKING_S", 1.0)
    made, stored = await traffic.watch.reports(
        [traffic.registry.snapshot.get(name) for name in ("c", "a")]
    )
    assert made.model_dump(exclude={"task", "since"}) == stored.model_dump(
        exclude={"task", "since"}
    )
