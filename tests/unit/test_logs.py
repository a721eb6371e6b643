"""app.logs: lines that name the request, and never repeat what an exception says."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from app.logs import JsonFormatter, QuietFormatter, request_id

SECRET = "a caller's text"


def record_of(error: BaseException | None = None, **extra: object) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("app.x", logging.ERROR, "x.py", 1, "it %s", ("failed",), info)
    vars(made).update(extra)
    return made


def raised() -> BaseException:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as inner:
            raise ValueError(SECRET) from inner
    except ValueError:
        error = sys.exc_info()[1]
        assert error is not None
        return error


@pytest.fixture
def in_request() -> Iterator[None]:
    token = request_id.set("id-1")
    yield
    request_id.reset(token)


@pytest.mark.parametrize("formatter", [QuietFormatter(), JsonFormatter()], ids=["text", "json"])
def test_an_exception_is_its_place_and_type_alone(formatter: logging.Formatter) -> None:
    line = formatter.format(record_of(raised()))
    assert SECRET not in line
    for said in ("it failed", "KeyError", "ValueError", "test_logs.py", "in raised"):
        assert said in line
    assert line.index("KeyError") < line.index("ValueError")


def test_an_exception_without_a_place_is_its_type() -> None:
    line = QuietFormatter().format(record_of(ValueError(SECRET)))
    assert line.endswith("ValueError")


@pytest.mark.usefixtures("in_request")
def test_a_line_is_one_object_with_what_was_given() -> None:
    line = JsonFormatter().format(record_of(status=400, code=None, odd={1, 2}))
    assert "\n" not in line
    fields = json.loads(line)
    assert (fields["level"], fields["logger"], fields["message"]) == ("error", "app.x", "it failed")
    assert (fields["request_id"], fields["status"], fields["code"]) == ("id-1", 400, None)
    assert fields["time"].endswith("+00:00")
    assert fields["odd"] == "{1, 2}"


def test_outside_of_requests_there_is_no_id() -> None:
    assert "request_id" not in json.loads(JsonFormatter().format(record_of()))


def test_an_error_that_is_its_own_context_ends() -> None:
    error = ValueError("x")
    error.__context__ = None
    cause = KeyError("y")
    error.__cause__ = cause
    assert JsonFormatter().format(record_of(error)).count("KeyError") == 1
