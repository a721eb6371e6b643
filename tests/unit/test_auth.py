"""app.auth: who may do what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.auth import Keys
from app.errors import Forbidden, Unauthorized

KEYS = Keys({"predict-key": "predict", "manage-key": "manage", "with:colon and space": "manage"})


@pytest.mark.parametrize(
    ("key", "scope"),
    [
        ("predict-key", "predict"),
        ("manage-key", "predict"),
        ("manage-key", "manage"),
        ("with:colon and space", "manage"),
    ],
)
@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER {}", "Bearer   {} "])
def test_a_key_with_the_scope_passes(key: str, scope: str, form: str) -> None:
    KEYS.check(form.format(key), scope)


def test_a_key_without_the_scope_is_forbidden() -> None:
    with pytest.raises(Forbidden, match="manage") as caught:
        KEYS.check("Bearer predict-key", "manage")
    assert "predict-key" not in caught.value.message


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer  ",
        "predict-key",
        "Basic predict-key",
        "Bearerpredict-key",
        "Bearer predict-ke",
        "Bearer predict-key1",
        "Bearer PREDICT-KEY",
        "Bearer predict-key,manage-key",
        "Bearer \ud800",
        "Bearer kéy",
        "Bearer predict-key\x00",
    ],
)
@pytest.mark.parametrize("scope", ["predict", "manage"])
def test_anything_else_is_unauthorized_and_not_repeated(header: str | None, scope: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        KEYS.check(header, scope)
    assert not header or header[6:].strip() == "" or header[6:] not in caught.value.message


@given(st.text())
def test_arbitrary_headers_are_unauthorized(header: str) -> None:
    for value in (header, f"Bearer {header}"):
        if value.strip() not in ("Bearer predict-key", "Bearer manage-key"):
            with pytest.raises(Unauthorized):
                KEYS.check(value, "predict")


def test_without_keys_everyone_passes() -> None:
    Keys({}).check(None, "manage")
    Keys({}).check("Basic x", "predict")


def test_keys_are_not_kept() -> None:
    assert "predict-key" not in repr(vars(KEYS))
