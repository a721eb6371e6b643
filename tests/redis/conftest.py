"""Stores of both layouts on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from app.cache import generations
from app.cache.address import connect
from app.cache.packed_store import PackedStore
from app.cache.string_store import StringStore
from tests.conftest import ValkeyProcess

TIMEOUT_S = 10.0  # the machine may be busy
LAYOUTS: dict[str, Any] = {"string": StringStore, "packed": PackedStore}

FIRST_BITS = 6  # few buckets, so that few codes fill them

MakeStore = Callable[..., Any]


@pytest.fixture
def few_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generations, "FIRST_BITS", FIRST_BITS)


@pytest.fixture
async def make_store(valkey: ValkeyProcess) -> AsyncIterator[MakeStore]:
    """`make_store("packed", ttl_s=60)`: each with connections of its own, as a process has."""
    stores: list[Any] = []

    def make(layout: str, **fields: Any) -> Any:
        known = {"grace_s": 0.2} if layout == "packed" else {}
        stores.append(LAYOUTS[layout](connect(valkey.url, TIMEOUT_S), **known | fields))
        return stores[-1]

    yield make
    for store in stores:
        await store.close()
