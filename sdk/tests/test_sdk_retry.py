"""The retry decision, alone."""

from __future__ import annotations

import random
import statistics
import time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhead import _retry, retry_delay

seeds = st.integers(0, 2**32).map(random.Random)
headers = st.dictionaries(
    st.sampled_from(["retry-after", "Retry-After", "date", "x"]),
    st.one_of(
        st.text(max_size=20),
        st.integers().map(str),
        st.floats().map(str),
        st.datetimes().map(lambda d: d.strftime("%a, %d %b %Y %H:%M:%S GMT")),
    ),
)


@pytest.fixture(autouse=True)
def quick():
    """Real delays here."""


@given(st.integers(0, 10**6), headers, seeds, st.sampled_from([None, 429, 503]))
def test_the_delay_is_always_bounded(attempt, fields, rng, status):
    delay = retry_delay(attempt, status, fields, rng, now=0.0)
    assert delay is not None
    assert 0 <= delay <= _retry.MAX_DELAY


@given(st.integers(100, 599).filter(lambda s: s not in (429, 503)), headers, seeds)
def test_no_other_status_is_retried(status, fields, rng):
    assert retry_delay(0, status, fields, rng) is None


@given(st.integers(0, 40), seeds)
def test_full_jitter_stays_under_its_range(attempt, rng):
    delay = retry_delay(attempt, None, {}, rng)
    assert delay <= min(_retry.MAX_BACKOFF, _retry.BASE_DELAY * 2**attempt)


@given(st.integers(0, 10), st.integers(0, 20), seeds)
def test_never_back_before_retry_after(attempt, seconds, rng):
    delay = retry_delay(attempt, 429, {"Retry-After": str(seconds)}, rng)
    assert delay >= seconds


def test_jitter_is_uniform_and_doubles():
    rng = random.Random(0)
    for attempt in range(4):
        width = _retry.BASE_DELAY * 2**attempt
        draws = [retry_delay(attempt, 503, {}, rng) for _ in range(4000)]
        assert statistics.mean(draws) == pytest.approx(width / 2, rel=0.05)
        assert min(draws) < 0.02 * width
        assert max(draws) > 0.98 * width


def test_it_is_pure():
    fields = {"retry-after": "3"}
    first = retry_delay(2, 429, fields, random.Random(7))
    assert first == retry_delay(2, 429, fields, random.Random(7))


def test_a_connection_error_has_no_headers_to_honour():
    assert retry_delay(0, None, {"retry-after": "20"}, random.Random(0)) <= _retry.BASE_DELAY


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0.5", 0.5),
        ("9" * 400, float("inf")),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("1_0", None),
        ("٣", None),
        ("", None),
        ("soon", None),
    ],
)
def test_retry_after_in_seconds(value, seconds):
    assert _retry.retry_after({"retry-after": value}) == seconds


NOON = "Wed, 21 Oct 2015 12:00:00 GMT"
NOON_UNIX = 1445428800.0


def test_retry_after_as_a_date():
    later = {"retry-after": "Wed, 21 Oct 2015 12:00:05 GMT"}
    assert _retry.retry_after(later, now=NOON_UNIX) == 5.0
    assert _retry.retry_after(later, now=NOON_UNIX + 60) == 0.0
    assert _retry.retry_after({**later, "Date": NOON}, now=0.0) == 5.0
    assert _retry.retry_after({**later, "date": "garbage"}, now=NOON_UNIX) == 5.0
    assert _retry.retry_after(later) == 0.0
    future = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert 90 < _retry.retry_after({"retry-after": future}) <= 100


def test_it_reads_httpx_headers():
    fields = httpx.Headers({"Retry-After": "2"})
    assert 2.0 <= retry_delay(0, 429, fields, random.Random(0)) <= 2.25
