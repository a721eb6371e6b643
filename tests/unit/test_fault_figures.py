"""The pure parts of benchmarks.checked and benchmarks.soak: recovery, and the slope of memory."""

from __future__ import annotations

import httpx
import numpy as np
import pytest

from benchmarks.checked import Record, last_trouble, problem_of_error, varied_texts
from benchmarks.soak import STARTING_S, Sample, settled, slope_of


def record(kind: str, ended: float, outcome: str = "200", **fields: object) -> Record:
    known = {"cached": True, "wrong": False, "stored_at": ended - 0.1}
    return Record(kind, 0, ended - 0.1, ended, outcome, **known | fields)  # type: ignore[arg-type]


def test_recovery_is_counted_from_the_end_to_the_last_trouble() -> None:
    records = [
        record("cached", 9.0, "503"),  # while it lasted
        record("cached", 10.5, "503"),
        record("new", 11.0, cached=False),  # need not be
        record("cached", 12.0, cached=False),
        record("again", 13.0, cached=False, stored_at=9.5),  # could not be stored then
        record("cached", 14.0),
    ]
    assert last_trouble(records, 10.0) == pytest.approx((0.5, 2.0))
    wrong = record("batch", 15.0, wrong=True)
    assert last_trouble([*records, wrong], 10.0) == pytest.approx((5.0, 5.0))
    assert last_trouble(records[-1:], 10.0) == (0.0, 0.0)


def test_texts_are_distinct() -> None:
    texts = varied_texts(500, "a")
    assert len({*texts, *varied_texts(500, "b")}) == 1000


ERROR = {"error": {"message": "m", "type": "t", "param": None, "code": "c"}}


@pytest.mark.parametrize(
    ("response", "is_fine"),
    [
        (httpx.Response(503, json=ERROR, headers={"retry-after": "1"}), True),
        (httpx.Response(504, json=ERROR), True),
        (httpx.Response(503, json=ERROR), False),
        (httpx.Response(503, json={"error": {}}, headers={"retry-after": "1"}), False),
        (httpx.Response(429, text="no", headers={"retry-after": "1"}), False),
        (httpx.Response(500, json=ERROR, headers={"retry-after": "1"}), False),
    ],
)
def test_errors_must_be_of_the_contract(response: httpx.Response, is_fine: bool) -> None:
    assert (problem_of_error(response) == "") is is_fine


def sample(at: float, resident: float, pid: int = 1) -> Sample:
    return Sample(at, pid, resident, 0, 0, 0)


def test_the_slope_of_one_life_is_that_of_numpy() -> None:
    """The reference: `numpy.polyfit` of degree 1, its covariance scaled by what is left."""
    random = np.random.default_rng(1)
    at = np.arange(0, 600, 3.0)
    resident = 100 + 0.5 * at / 60 + random.normal(0, 0.3, len(at))
    slope = slope_of([sample(a, r) for a, r in zip(at, resident, strict=True)])
    (expected, _), covariance = np.polyfit(at / 60, resident, 1, cov=True)
    assert slope is not None
    assert slope.mib_a_minute == pytest.approx(expected)
    assert slope.error == pytest.approx(np.sqrt(covariance[0, 0]))
    assert abs(slope.mib_a_minute - 0.5) < 3 * slope.error


def test_lives_share_a_slope_and_have_starts_of_their_own() -> None:
    """The reference: `numpy.linalg.lstsq` with a column for each life."""
    random = np.random.default_rng(2)
    rows = [(at, pid) for pid in range(3) for at in np.arange(pid * 200, pid * 200 + 150, 5.0)]
    noise = random.normal(0, 0.2, len(rows))
    resident = [50 * pid - 2 * at / 60 + n for (at, pid), n in zip(rows, noise, strict=True)]
    design = np.array([[at / 60, *(pid == one for one in range(3))] for at, pid in rows])
    expected = np.linalg.lstsq(design, np.array(resident), rcond=None)[0][0]
    samples = [sample(at, r, pid) for (at, pid), r in zip(rows, resident, strict=True)]
    slope = slope_of([*samples, sample(999, 5, pid=9)])  # a life too short for a line
    assert slope is not None
    assert slope.mib_a_minute == pytest.approx(expected)
    assert (slope.samples, slope.lives) == (len(rows), 3)
    assert slope_of([sample(0, 1), sample(1, 1)]) is None


def test_the_start_of_each_life_is_left_out() -> None:
    samples = [sample(at, 1, pid) for pid in (1, 2) for at in range(pid * 100, pid * 100 + 60, 10)]
    assert [(one.pid, one.at) for one in settled(samples)] == [
        (pid, pid * 100 + at) for pid in (1, 2) for at in (STARTING_S, 40, 50)
    ]
