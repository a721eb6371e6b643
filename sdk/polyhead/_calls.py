"""A request as data, and what becomes of it: shared by the sync and the async client."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Generic, Literal, TypeAlias, TypeVar
from urllib.parse import quote

import httpx

from ._errors import (
    BY_STATUS,
    LATER,
    APIError,
    PolyheadError,
    ProtocolError,
    ServerError,
    ServiceUnreachable,
    Timeout,
)
from ._inputs import check_text
from ._retry import retry_after, retry_delay

T = TypeVar("T")
Outcome: TypeAlias = httpx.Response | httpx.RequestError
"""What came of one attempt: an answer of any status, or none."""

_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
_BROKEN = (*_UNSENT, httpx.NetworkError, httpx.RemoteProtocolError)


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart body. `files` maps a part to its file name and content."""

    fields: Mapping[str, str]
    files: Mapping[str, tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request and how to read its answer.

    Attributes:
        method: HTTP method.
        path: From the root of the service, quoted.
        read: Decoded JSON to the result; raises `ProtocolError`.
        json: Body, or None.
        form: Body of an upload, or None.
        content: Body of bytes, or None.
        retry: After a connection error. `"any"`: try again. `"unsent"`: only when the request
            cannot have arrived, because doing it twice would differ from doing it once.
        part: Which inputs it carries, when a call was split.
        raw: Whether the answer is bytes, which `read` gets as they are.
    """

    method: str
    path: str
    read: Callable[[object], T]
    json: Mapping[str, object] | None = None
    form: Form | None = None
    content: bytes | None = None
    retry: Literal["any", "unsent"] = "any"
    part: str | None = None
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Plan(Generic[T]):
    """The requests of one call, and how to join their results in order."""

    calls: list[Call[T]]
    join: Callable[[list[T]], T] = field(default=lambda parts: parts[0])


def segment(value: object, name: str) -> str:
    """A string as one segment of a path.

    Raises:
        ValueError: It is empty, or `.` or `..`, which a URL reads as another path.
    """
    text = check_text(value, name)
    if text in ("", ".", ".."):
        raise ValueError(f"{name} must not be {text!r}")
    return quote(text, safe="")


def build(http: httpx.Client | httpx.AsyncClient, call: Call[T]) -> httpx.Request:
    """The request to send, as often as needed.

    Raises:
        ValueError: The body holds what JSON cannot carry.
    """
    if call.form is not None:
        return http.build_request(
            call.method, call.path, data=dict(call.form.fields), files=dict(call.form.files)
        )
    if call.content is not None:
        return http.build_request(
            call.method,
            call.path,
            content=call.content,
            headers={"content-type": "application/octet-stream"},
        )
    if call.json is None:
        return http.build_request(call.method, call.path)
    # Not escaped to ASCII: most of the world's text would be two to three times as long.
    content = json.dumps(call.json, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return http.build_request(
        call.method,
        call.path,
        content=content.encode("utf-8"),
        headers={"content-type": "application/json"},
    )


def next_delay(
    call: Call[T], outcome: Outcome, attempt: int, max_retries: int, rng: random.Random
) -> float | None:
    """Seconds to wait before the next attempt, or None when this outcome is final."""
    if attempt >= max_retries:
        return None
    if isinstance(outcome, httpx.Response):
        return retry_delay(attempt, outcome.status_code, outcome.headers, rng)
    again = _BROKEN if call.retry == "any" else _UNSENT
    return retry_delay(attempt, None, {}, rng) if isinstance(outcome, again) else None


def settle(call: Call[T], outcome: Outcome) -> T:
    """The result of a final outcome.

    Raises:
        PolyheadError: It was a failure.
    """
    try:
        if isinstance(outcome, httpx.RequestError):
            raise _transport_error(outcome) from outcome
        if outcome.status_code >= 400:
            raise _api_error(outcome)
        if not outcome.is_success:
            raise ProtocolError(f"unexpected answer: status {outcome.status_code}")
        return call.read(outcome.content if call.raw else _decode(outcome))
    except PolyheadError as error:
        if call.part:
            error.add_note(f"in the request that carried {call.part}")
        raise


def alive(outcome: Outcome) -> bool:
    """Whether a probe was answered well.

    Raises:
        APIError: A 4xx, which says nothing of the service's health.
        ProtocolError: A redirection.
    """
    if isinstance(outcome, httpx.RequestError) or outcome.status_code >= 500:
        return False
    if not outcome.is_success:
        settle(Call("GET", "", read=lambda value: None), outcome)
    return True


def _decode(response: httpx.Response) -> object:
    try:
        value: object = json.loads(response.content)
    except (ValueError, RecursionError):
        kind = response.headers.get("content-type", "of no type")
        raise ProtocolError(f"unexpected answer: not JSON ({kind})") from None
    return value


def _transport_error(error: httpx.RequestError) -> PolyheadError:
    detail = str(error) or type(error).__name__
    with suppress(RuntimeError):  # Raised when no request is attached.
        detail = f"{error.request.method} {error.request.url.path}: {detail}"
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return Timeout(detail)
    if isinstance(error, httpx.DecodingError):
        return ProtocolError(detail)
    return ServiceUnreachable(detail)


def _api_error(response: httpx.Response) -> APIError:
    """The error of a status of 400 or more, whatever its body: a proxy may have made it."""
    status = response.status_code
    try:
        body = _decode(response)
    except ProtocolError:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    fields = error if isinstance(error, dict) else {"message": error}

    def field_of(name: str) -> str | None:
        value = fields.get(name)
        return value if isinstance(value, str) else None

    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "error"
    message = field_of("message") or phrase
    details = (field_of("type"), field_of("param"), field_of("code"))
    request_id = response.headers.get("x-request-id")
    if status in LATER:
        return LATER[status](status, message, *details, request_id, retry_after(response.headers))
    fallback = ServerError if status >= 500 else APIError
    return BY_STATUS.get(status, fallback)(status, message, *details, request_id)
