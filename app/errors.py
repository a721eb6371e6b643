"""Errors and their wire form: `{"error": {"message", "type", "param", "code"}}`.

ApiError
├── BadRequest          400   unreadable or empty input
├── Unauthorized        401   no or wrong key
├── Forbidden           403   the key lacks the scope
├── NotFound            404   unknown task, version, job or key
├── SlowBody            408   the body did not come in time
├── Conflict            409   another fingerprint, nothing active, exists differently
├── TooLarge            413   body, upload or text over its limit
├── InvalidField        422   a field that cannot be used; the message names it
├── Overloaded          429   refused before queueing; `Retry-After`
├── RateLimited         429   this client asks for too much; `Retry-After`
├── Disconnected        499   the caller hung up; seen in logs and metrics alone
├── EncoderUnavailable  503   the misses of this request cannot be encoded; `Retry-After`
├── StorageUnavailable  503   the data directory takes no more; `Retry-After`
├── CacheUnavailable    503   what is stored cannot be read; `Retry-After`
└── DeadlineExceeded    504   not done within `x-request-timeout-ms`, or the service's own limit

One place maps them to answers: `install_error_handlers`. Messages never repeat a text or a key.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import Any, ClassVar

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

logger = logging.getLogger(__name__)


class ApiError(Exception):
    """Base of all errors that have an answer of their own."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str | None] = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.default_code
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        return {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }


class BadRequest(ApiError):
    status, type, default_code = 400, "invalid_request_error", "bad_request"


class Unauthorized(ApiError):
    status, type, default_code = 401, "authentication_error", "invalid_api_key"


class Forbidden(ApiError):
    status, type, default_code = 403, "permission_error", "missing_scope"


class NotFound(ApiError):
    status, type, default_code = 404, "not_found_error", "not_found"


class SlowBody(ApiError):
    status, type, default_code = 408, "timeout_error", "body_timeout"


class Conflict(ApiError):
    status, type, default_code = 409, "conflict_error", "conflict"


class TooLarge(ApiError):
    status, type, default_code = 413, "invalid_request_error", "too_large"


class InvalidField(ApiError):
    status, type, default_code = 422, "invalid_request_error", "invalid_field"


class Overloaded(ApiError):
    status, type, default_code = 429, "overloaded_error", "overloaded"


class RateLimited(ApiError):
    status, type, default_code = 429, "rate_limit_error", "rate_limited"


class Disconnected(ApiError):
    status, type, default_code = 499, "client_error", "disconnected"


class EncoderUnavailable(ApiError):
    status, type, default_code = 503, "unavailable_error", "encoder_unavailable"


class CacheUnavailable(ApiError):
    status, type, default_code = 503, "unavailable_error", "cache_unavailable"


class DeadlineExceeded(ApiError):
    status, type, default_code = 504, "timeout_error", "deadline_exceeded"


class StorageUnavailable(ApiError):
    status, type, default_code = 503, "unavailable_error", "storage_unavailable"


# What a disk says that takes no more: full, over a quota, read-only, not allowed, broken.
_DISK = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
}


def storage_error(error: OSError) -> StorageUnavailable | None:
    """The error for a disk that takes no more; None if it is something else."""
    if error.errno not in _DISK:
        return None
    # Without the path, which is nobody's business outside.
    logger.error("the data directory takes no more: %s", error)
    message = f"nothing can be stored: {os.strerror(error.errno)}"
    return StorageUnavailable(message, retry_after=30)


def error_response(error: ApiError) -> Response:
    """The answer for an error."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(
        orjson.dumps({"error": error.body()}),
        status_code=error.status,
        headers=headers,
        media_type="application/json",
    )


def error_answer(scope: Scope, error: ApiError) -> Response:
    """The answer for an error, its code noted where the request is counted."""
    scope["error_code"] = error.code
    return error_response(error)


def unexpected_error(path: str, error: Exception) -> Response:
    """The answer for a fault of ours: the traceback goes to the log, not to the caller."""
    logger.error("unexpected error in %s", path[:200], exc_info=error)
    return error_response(ApiError("internal error", code="internal_error"))


def from_validation(error: ValidationError | RequestValidationError) -> ApiError:
    """A pydantic error as ours: the first problem, its field named, its input never repeated."""
    # Of a union's branches, the one that got furthest is the one that was meant.
    first = max(error.errors(), key=lambda problem: len(problem["loc"]))
    if first["type"] in ("json_invalid", "json_type"):
        reason = str(first.get("ctx", {}).get("error", "not JSON"))
        return BadRequest(f"the body is not valid JSON: {reason}", code="invalid_json")
    param = field_name(first["loc"])
    prefix = f"{param}: " if param else ""
    return InvalidField(f"{prefix}{first['msg']}", param=param or None)


def field_name(location: tuple[int | str, ...]) -> str:
    """`("inputs", "list[str]", 3)` to `inputs[3]`: without the parts that only pydantic uses."""
    name = ""
    for part in location:
        if isinstance(part, int):
            name += f"[{part}]"
        elif part in ("body", "query", "path") or not part.isidentifier() or part in _BRANCHES:
            continue
        else:
            name += f".{part}" if name else part
    return name


# Names that pydantic puts into a location for the branch of a union.
_BRANCHES = {"str", "int", "float", "bool"}


def install_error_handlers(app: FastAPI) -> None:
    """Give `app` the contract's error answers."""

    async def api_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return error_answer(request.scope, error)

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError | ValidationError)
        return error_answer(request.scope, from_validation(error))

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        known: dict[int, type[ApiError]] = {400: BadRequest, 404: NotFound, 413: TooLarge}
        kind = known.get(error.status_code)
        if kind:
            message = str(error.detail)
            if error.status_code == 404:
                message = f"no such route: {request.method} {request.url.path[:200]}"
            return error_answer(request.scope, kind(message))
        body = {
            "message": str(error.detail),
            "type": "invalid_request_error" if error.status_code < 500 else "server_error",
            "param": None,
            "code": "method_not_allowed" if error.status_code == 405 else None,
        }
        headers = dict(error.headers or {})
        return Response(
            orjson.dumps({"error": body}), error.status_code, headers, "application/json"
        )

    async def disk(request: Request, error: Exception) -> Response:
        assert isinstance(error, OSError)
        known_error = storage_error(error)
        if known_error is not None:
            return error_response(known_error)
        return unexpected_error(request.url.path, error)

    async def unexpected(request: Request, error: Exception) -> Response:
        return unexpected_error(request.url.path, error)

    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(ValidationError, validation)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(OSError, disk)
    app.add_exception_handler(Exception, unexpected)
