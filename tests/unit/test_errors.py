"""app.errors: every problem in the contract's form, without the caller's input in it."""

from __future__ import annotations

import inspect
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI, Query
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from app import errors as module
from app.errors import (
    ApiError,
    BadRequest,
    EncoderUnavailable,
    InvalidField,
    NotFound,
    Overloaded,
    Unauthorized,
    error_response,
    field_name,
    from_validation,
    install_error_handlers,
)
from app.schemas import PredictRequest, TaskRequest, TrainRequest


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ((), ""),
        (("inputs",), "inputs"),
        (("inputs", "str"), "inputs"),
        (("inputs", "list[str]", 3), "inputs[3]"),
        (("body", "examples", 0, "label"), "examples[0].label"),
        (("query", "limit"), "limit"),
        (("path", "task"), "task"),
        (("labels", 2), "labels[2]"),
        (("keys", "function-after[check(), str]", 1), "keys[1]"),
        (("a", "b", 0, 1, "c"), "a.b[0][1].c"),
    ],
)
def test_field_name(location: tuple[int | str, ...], name: str) -> None:
    assert field_name(location) == name


def refused(model: type[BaseModel], body: str) -> ApiError:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(body)
    return from_validation(caught.value)


@pytest.mark.parametrize(
    ("model", "body", "param"),
    [
        (PredictRequest, '{"inputs": ["SECRET", 5]}', "inputs[1]"),
        (PredictRequest, '{"inputs": {"SECRET": 1}}', "inputs"),
        (PredictRequest, '{"keys": ["SECRET"]}', "keys[0]"),
        (PredictRequest, '{"inputs": "SECRET", "scores": "SECRET"}', "scores"),
        (PredictRequest, '{"inputs": "SECRET", "task": ["x"]}', "task"),
        (TaskRequest, '{"kind": "SECRET"}', "kind"),
        (TaskRequest, '{"labels": ["fine", ""]}', "labels[1]"),
        (TrainRequest, '{"examples": [{"text": "t", "labels": ["SECRET", 1]}]}', None),
        (TrainRequest, '{"examples": [{"text": "t", "value": "SECRET"}]}', "examples[0].value"),
        (TrainRequest, '{"examples": [{"text": "t", "value": 1e999}]}', "examples[0].value"),
        (TrainRequest, '{"examples": []}', "examples"),
        (TrainRequest, '{"base": "SECRET"}', "base"),
    ],
)
def test_a_bad_field_is_named_and_its_input_not_repeated(
    model: type[BaseModel], body: str, param: str | None
) -> None:
    error = refused(model, body)
    assert isinstance(error, InvalidField)
    assert param is None or error.param == param
    assert error.param in error.message
    assert "SECRET" not in error.message


@pytest.mark.parametrize(
    "body", ["", "{", '{"inputs": "SECRET', "SECRET", '{"inputs": "\\ud800"}', "[" * 10_000]
)
def test_what_is_no_json_is_a_bad_request(body: str) -> None:
    error = refused(PredictRequest, body)
    assert isinstance(error, BadRequest)
    assert error.code == "invalid_json"
    assert "SECRET" not in error.message


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.just("SECRET"),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["inputs", "keys", "tasks", "scores", "examples", "text"]), inner
            )
        ),
        max_leaves=8,
    ),
    st.sampled_from([PredictRequest, TaskRequest, TrainRequest]),
)
def test_arbitrary_bodies_never_come_back(body: Any, model: type[BaseModel]) -> None:
    try:
        model.model_validate_json(orjson.dumps(body, option=orjson.OPT_PASSTHROUGH_SUBCLASS))
    except ValidationError as error:
        answer = from_validation(error)
        assert answer.status in (400, 422)
        assert "SECRET" not in orjson.dumps(answer.body()).decode()
    except TypeError:  # an integer of more than 64 bits is not what orjson writes
        pass


def test_the_wire_form() -> None:
    response = error_response(NotFound("no task 'x'", param="task"))
    assert response.status_code == 404
    assert orjson.loads(response.body) == {
        "error": {
            "message": "no task 'x'",
            "type": "not_found_error",
            "param": "task",
            "code": "not_found",
        }
    }
    assert "retry-after" not in response.headers


@pytest.mark.parametrize(("seconds", "header"), [(0.2, "1"), (1.4, "1"), (29.6, "30")])
@pytest.mark.parametrize("kind", [Overloaded, EncoderUnavailable])
def test_retry_after_is_whole_seconds_from_one(
    kind: type[ApiError], seconds: float, header: str
) -> None:
    assert error_response(kind("later", retry_after=seconds)).headers["retry-after"] == header


def test_unauthorized_names_the_scheme() -> None:
    assert error_response(Unauthorized("no")).headers["www-authenticate"] == "Bearer"


def test_the_tree_at_the_top_of_the_file_is_the_truth() -> None:
    drawn = {
        line.split()[1]: int(line.split()[2])
        for line in (module.__doc__ or "").splitlines()
        if line.startswith(("├──", "└──"))
    }
    classes = {
        name: value.status
        for name, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, ApiError) and value is not ApiError
    }
    assert drawn == classes


@pytest.fixture
def client() -> httpx.AsyncClient:
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/refuse")
    async def refuse() -> None:
        raise Overloaded("busy", retry_after=3)

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError("SECRET")

    @app.get("/number")
    async def number(limit: int = Query(le=5)) -> int:
        return limit

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def test_handlers_answer_in_the_contracts_form(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    paths = ("/refuse", "/crash", "/number?limit=SECRET", "/nowhere")
    answers = {path: await client.get(path) for path in paths}
    assert answers["/refuse"].status_code == 429
    assert answers["/refuse"].headers["retry-after"] == "3"
    assert answers["/crash"].status_code == 500
    assert answers["/number?limit=SECRET"].json()["error"]["param"] == "limit"
    assert answers["/number?limit=SECRET"].status_code == 422
    assert answers["/nowhere"].status_code == 404
    for answer in answers.values():
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
        assert "SECRET" not in answer.text
    assert "SECRET" in caplog.text  # the traceback is for us


async def test_a_wrong_method_keeps_its_allow_header(client: httpx.AsyncClient) -> None:
    answer = await client.post("/refuse")
    assert answer.status_code == 405
    assert answer.json()["error"]["code"] == "method_not_allowed"
    assert "GET" in answer.headers["allow"]
