"""app.rates: texts are counted, all or none, and a storage that is gone lets everybody through."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits.aio.storage import MemoryStorage
from pydantic import ValidationError
from redis.exceptions import ConnectionError as RedisConnectionError

from app.errors import InvalidField, RateLimited
from app.metrics import Metrics
from app.rates import Rates, open_storage
from app.settings import Settings


def make(rate: str = "10/hour", storage: Any = None) -> tuple[Rates, Metrics]:
    metrics = Metrics()
    return Rates(rate, storage or MemoryStorage(), metrics), metrics


async def test_texts_are_counted_for_each_client() -> None:
    rates, metrics = make()
    await rates.take("one", 6, "inputs")
    await rates.take("one", 4, "inputs")
    with pytest.raises(RateLimited) as caught:
        await rates.take("one", 1, "inputs")
    assert caught.value.status == 429
    assert 1 <= (caught.value.retry_after or 0) <= 3600
    await rates.take("two", 10, "inputs")
    assert metrics.rate_refused.value == 1


async def test_a_request_is_let_in_whole_or_not_at_all() -> None:
    rates, _ = make()
    await rates.take("one", 6, "inputs")
    with pytest.raises(RateLimited):
        await rates.take("one", 5, "inputs")
    await rates.take("one", 4, "inputs")


async def test_more_than_is_ever_let_in_is_no_matter_of_waiting() -> None:
    rates, _ = make()
    with pytest.raises(InvalidField, match="11 texts") as caught:
        await rates.take("one", 11, "input")
    assert caught.value.param == "input"


async def test_an_empty_request_costs_nothing() -> None:
    rates, _ = make("1/hour")
    for _ in range(3):
        await rates.take("one", 0, "inputs")
    await rates.take("one", 1, "inputs")


class Gone(MemoryStorage):
    """As a Redis that does not answer."""

    asked = 0

    async def acquire_sliding_window_entry(self, *_: Any, **__: Any) -> bool:
        self.asked += 1
        raise RedisConnectionError("redis://:SECRET@host")


async def test_a_storage_that_is_gone_lets_everybody_through_and_is_left_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    storage = Gone()
    rates, metrics = make("1/hour", storage)
    for _ in range(50):
        await rates.take("one", 1, "inputs")
    assert metrics.rate_failures.value == 50
    assert storage.asked < 5  # the breaker is open
    assert "SECRET" not in caplog.text
    assert "ConnectionError" in caplog.text


async def test_without_a_redis_counts_are_kept_here() -> None:
    assert isinstance(open_storage(None, 1), MemoryStorage)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:1/0",
        "rediss://h:1/0",
        "unix:///tmp/valkey.sock",
        "redis+cluster://h:1,i:2",
        "rediss+cluster://h:1,i:2",
        "redis+sentinel://h:1,i:2/main",
    ],
    ids=str,
)
async def test_storages_open_for_every_kind_of_redis_without_asking_it(url: str) -> None:
    open_storage(url, 1)


@given(st.lists(st.integers(0, 12), max_size=20))
async def test_never_more_than_the_rate(asked: list[int]) -> None:
    rates, _ = make()
    let_in = 0
    for texts in asked:
        try:
            await rates.take("one", texts, "inputs")
        except (RateLimited, InvalidField):
            assert texts > 10 or let_in + texts > 10
        else:
            let_in += texts
    assert let_in <= 10


@pytest.mark.parametrize("rate", ["", "1000/minute", "5 per 10 seconds"])
def test_rates_that_settings_take(rate: str) -> None:
    assert Settings(rate_limit=rate).rate_limit == rate


@pytest.mark.parametrize("rate", ["many", "1000", "1000/fortnight", "-1/minute"])
def test_rates_that_settings_refuse(rate: str) -> None:
    with pytest.raises(ValidationError, match="1000/minute"):
        Settings(rate_limit=rate)


def test_no_limit_loads_no_library() -> None:
    import subprocess
    import sys
    from pathlib import Path

    code = (
        "import sys; from app.settings import Settings; from app.main import create_app;"
        "create_app(Settings(role='api', encoder_url='http://127.0.0.1:9'));"
        "print({'limits', 'opentelemetry.exporter'} & set(sys.modules))"
    )
    root = Path(__file__).parent.parent.parent
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "set()"
