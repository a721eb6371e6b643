"""The settings of a client: arguments first, then the environment, then the defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from ._version import __version__

DEFAULT_URL = "http://127.0.0.1:8080"
"""Where a service that was started with its defaults listens."""

CONNECT_TIMEOUT = 10.0
"""Seconds: a host that does not even accept a connection is not waited for as long as work is."""


@dataclass(frozen=True, slots=True)
class Config:
    """Settings that were checked."""

    base_url: httpx.URL
    api_key: str | None
    timeout: float | None
    max_retries: int
    max_batch: int
    max_concurrency: int

    def http_options(self) -> dict[str, Any]:
        """Arguments of `httpx.Client` and `httpx.AsyncClient` alike."""
        headers = {"accept": "application/json", "user-agent": f"polyhead-python/{__version__}"}
        if self.api_key is not None:
            headers["authorization"] = f"Bearer {self.api_key}"
        connect = CONNECT_TIMEOUT if self.timeout is None else min(self.timeout, CONNECT_TIMEOUT)
        timeout = httpx.Timeout(self.timeout, connect=connect)
        return {"base_url": self.base_url, "headers": headers, "timeout": timeout}


def _check_url(value: str) -> httpx.URL:
    try:
        url = httpx.URL(value)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url is no URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"base_url must begin with http:// or https:// and a host, not {value!r}")
    return url


def _check_key(value: str) -> str | None:
    key = value.strip()  # Keys read from files end in a newline.
    if not (key.isascii() and key.isprintable()):
        raise ValueError("api_key must be printable ASCII")  # The key itself is not shown.
    return key or None


def resolve(
    base_url: str | None,
    api_key: str | None,
    timeout: float | None,
    max_retries: int,
    max_batch: int,
    max_concurrency: int,
    environ: Mapping[str, str] = os.environ,
) -> Config:
    """Settings, with what is missing from the environment filled in.

    Raises:
        ValueError: One of them is out of range; the message names it.
    """
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout must be positive seconds or None, not {timeout}")
    if max_retries < 0:
        raise ValueError(f"max_retries must be at least 0, not {max_retries}")
    if max_batch < 1:
        raise ValueError(f"max_batch must be at least 1, not {max_batch}")
    if max_concurrency < 1:
        raise ValueError(f"max_concurrency must be at least 1, not {max_concurrency}")
    url = environ.get("POLYHEAD_URL") or DEFAULT_URL if base_url is None else base_url
    key = environ.get("POLYHEAD_API_KEY", "") if api_key is None else api_key
    return Config(
        base_url=_check_url(url.strip()),
        api_key=_check_key(key),
        timeout=timeout,
        max_retries=max_retries,
        max_batch=max_batch,
        max_concurrency=max_concurrency,
    )
