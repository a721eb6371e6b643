"""app.settings: what is refused at the start, and that no message shows a key."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.settings import Settings, is_loopback, parse_keys


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("POLYHEAD_") or name == "REDIS_URL":
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("169.254.0.1", False),
        ("example.org", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("", False),
    ],
)
def test_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_on_loopback_no_keys_are_needed() -> None:
    assert Settings(host="127.0.0.1").api_keys.get_secret_value() == ""


def test_beyond_loopback_keys_are_needed_or_an_explicit_word() -> None:
    with pytest.raises(ValidationError, match="POLYHEAD_API_KEYS"):
        Settings(host="0.0.0.0")
    assert Settings(host="0.0.0.0", api_keys="manage:0123456789")
    assert Settings(host="0.0.0.0", allow_anonymous=True)


def test_keys_are_parsed() -> None:
    keys = parse_keys(" predict:key-one-1 ,, manage: key:two:2 ,")
    assert keys == {"key-one-1": "predict", "key:two:2": "manage"}
    assert parse_keys("") == {}


@pytest.mark.parametrize(
    "text",
    [
        "SECRETKEY",
        "admin:SECRETKEY",
        "predict:SECRET",
        "Predict:SECRETKEY",
        ":SECRETKEY",
        "predict:SECRETKEYé",
        "SECRETKEY:predict",
        "predict:GOODKEY1,SECRETKEY",
    ],
)
def test_errors_of_keys_never_show_one(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"API key \d") as caught:
        parse_keys(text)
    assert "SECRET" not in str(caught.value)
    monkeypatch.setenv("POLYHEAD_API_KEYS", text)
    for make in (Settings, lambda: Settings(api_keys=text)):
        with pytest.raises(ValidationError) as refused:
            make()
        assert "SECRET" not in str(refused.value)
        assert "SECRET" not in repr(refused.value)


@given(st.text(max_size=30) | st.from_regex(r"(predict|manage):.{0,12}", fullmatch=True))
def test_arbitrary_keys_are_parsed_or_refused(text: str) -> None:
    with suppress(ValueError):
        keys = parse_keys(text)
        assert set(keys.values()) <= {"predict", "manage"}
        assert all(len(key) >= 8 for key in keys)


def test_other_errors_do_not_show_the_keys_either() -> None:
    secrets = {
        "api_keys": "manage:SECRETKEY",
        "encoder_key": "SECRETKEY",
        "redis_url": "redis://:SECRETKEY@host",
    }
    for bad in ({"role": "api"}, {"port": -1}, {"max_queued_texts": 1}):
        with pytest.raises(ValidationError) as caught:
            Settings(**secrets | bad)
        assert "SECRET" not in str(caught.value)


def test_settings_do_not_show_secrets() -> None:
    settings = Settings(
        api_keys="manage:SECRETKEY", encoder_key="SECRETKEY", redis_url="redis://SECRET"
    )
    assert "SECRET" not in repr(settings)
    assert "SECRET" not in settings.model_dump_json()


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYHEAD_PORT", "9")
    monkeypatch.setenv("POLYHEAD_DATA_DIR", "/somewhere")
    monkeypatch.setenv("REDIS_URL", "redis://one")
    settings = Settings()
    assert (settings.port, settings.data_dir) == (9, Path("/somewhere"))
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://one"


def test_ready_heads_may_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().ready_heads is not None
    monkeypatch.setenv("POLYHEAD_READY_HEADS", "")
    assert Settings().ready_heads is None


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"role": "api"}, "POLYHEAD_ENCODER_URL"),
        ({"role": "both"}, "role"),
        ({"max_queued_texts": 10, "max_inputs": 11}, "max_queued_texts"),
        ({"port": 70_000}, "port"),
        ({"dtype": "fp16"}, "dtype"),
        ({"cache_timeout_ms": 0}, "cache_timeout_ms"),
        ({"max_queue_ms": 0}, "max_queue_ms"),
    ],
    ids=str,
)
def test_bad_values_are_named(bad: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        Settings(**bad)


def test_megabytes_become_bytes() -> None:
    settings = Settings(max_body_mb=0.5, max_upload_mb=2)
    assert (settings.max_body_bytes, settings.max_upload_bytes) == (512 * 1024, 2 * 1024 * 1024)
