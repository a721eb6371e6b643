"""Bad input gets the contract's error, never a 500."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest

from tests.conftest import ServiceProcess

DEEP = b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
CASES: list[tuple[str, bytes, int]] = [
    ("empty body", b"", 400),
    ("not JSON", b"inputs=hello", 400),
    ("half a document", b'{"inputs": "a', 400),
    ("an array", b"[]", 422),
    ("null", b"null", 422),
    ("no inputs", b"{}", 422),
    ("empty list", b'{"inputs": []}', 400),
    ("empty text", b'{"inputs": [""]}', 400),
    ("blank text", b'{"inputs": "  \\n"}', 400),
    ("number", b'{"inputs": 5}', 422),
    ("number in list", b'{"inputs": ["a", 5]}', 422),
    ("nested list", b'{"inputs": [["a"]]}', 422),
    ("object", b'{"inputs": {"a": 1}}', 422),
    ("invalid UTF-8", b'{"inputs": "\xff\xfe"}', 400),
    ("lone surrogate", b'{"inputs": "\\ud800"}', 400),
    ("raw control character", b'{"inputs": "a\nb"}', 400),
    ("unknown field", b'{"inputs": "a", "tusks": ["emotion"]}', 422),
    ("unknown task", b'{"inputs": "a", "tasks": ["nope"]}', 404),
    ("task with a path", b'{"inputs": "a", "tasks": ["../../etc/passwd"]}', 404),
    ("no tasks", b'{"inputs": "a", "tasks": []}', 400),
    ("tasks as text", b'{"inputs": "a", "tasks": "emotion"}', 422),
    ("scores as text", b'{"inputs": "a", "scores": "yes"}', 422),
    ("keys and inputs", b'{"inputs": "a", "keys": ["' + b"0" * 32 + b'"]}', 422),
    ("short key", b'{"keys": ["abc"]}', 422),
    ("unknown key", b'{"keys": ["' + b"0" * 32 + b'"]}', 404),
    ("no keys", b'{"keys": []}', 400),
    ("too many", json.dumps({"inputs": ["a"] * 1025}).encode(), 422),
    ("a 10 MB text", json.dumps({"inputs": "a" * 10_000_000}).encode(), 413),
    ("a text over its own limit", json.dumps({"inputs": "a" * 600_000}).encode(), 413),
    ("deep JSON", DEEP, 400),
    ("NaN", b'{"inputs": NaN}', 422),
    ("huge number", b'{"inputs": 1e999999}', 422),
]


def check_shape(response: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert "Traceback" not in response.text
    assert response.headers["content-type"].startswith("application/json")
    return error


@pytest.mark.parametrize(("body", "status"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_predict_refuses(service: ServiceProcess, body: bytes, status: int) -> None:
    response = service.http.post("/v1/predict", content=body)
    assert response.status_code == status, response.text
    check_shape(response)


def test_messages_name_the_field(service: ServiceProcess) -> None:
    def param(body: Any) -> Any:
        return check_shape(service.http.post("/v1/predict", json=body))["param"]

    assert param({"inputs": ["a", ""]}) == "inputs[1]"
    assert param({"inputs": ["a", "b", 5]}) == "inputs[2]"
    assert param({"inputs": "a", "tusks": []}) == "tusks"
    assert param({"inputs": "a", "scores": 3}) == "scores"


def test_messages_do_not_repeat_the_text(service: ServiceProcess) -> None:
    secret = "the-secret-of-the-text"
    for body in ({"inputs": [secret, 5]}, {"inputs": secret, "scores": secret}, {secret: 1}):
        response = service.http.post("/v1/predict", json=body)
        assert response.status_code == 422
        assert secret not in json.dumps(response.json()["error"]["message"])
    assert secret not in service.log.read_text()


def test_unknown_routes_and_methods(service: ServiceProcess) -> None:
    for method, path, status in (
        ("GET", "/nope", 404),
        ("GET", "/v1/predict", 405),
        ("POST", "/v1/tasks", 405),
        ("GET", "/v1/tasks/..%2f..%2fetc", 404),
        ("GET", "/v1/tasks/UPPER", 422),
        ("GET", "/v1/tasks/nope", 404),
        ("GET", "/v1/jobs/../../x", 404),
        ("GET", "/v1/jobs/nope", 404),
        ("GET", "/v1/tasks/emotion/versions/0", 422),
        ("GET", "/v1/tasks/emotion/versions/999", 404),
        ("POST", "/v1/tasks/emotion/versions/999/activate", 404),
        ("GET", "/v1/tasks/emotion/versions/99999999999999999999", 422),
    ):
        response = service.http.request(method, path)
        assert response.status_code == status, (path, response.text)
        check_shape(response)


def test_a_body_that_grows_past_the_limit_is_cut_while_it_is_read(
    service: ServiceProcess,
) -> None:
    def chunks() -> Any:
        for _ in range(200):
            yield b"a" * 100_000

    try:
        response = service.http.post("/v1/predict", content=chunks())
    except httpx.TransportError:
        return  # the server closed while we were sending: refused as well
    assert response.status_code == 413


def test_garbage_on_the_socket_is_survived(service: ServiceProcess) -> None:
    for garbage in (b"\x00" * 1000, b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/predict HTTP/1.1\r\n"):
        with socket.create_connection(("127.0.0.1", service.port), timeout=5) as connection:
            connection.sendall(garbage)
    assert service.http.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"input": []}', 400),
        (b'{"input": ""}', 400),
        (b'{"input": "a", "encoding_format": "hex"}', 422),
        (b'{"input": "a", "dimensions": 7}', 422),
        (b'{"input": [1, 2, 3]}', 422),
        (b"{}", 422),
    ],
)
def test_embeddings_refuse(service: ServiceProcess, body: bytes, status: int) -> None:
    response = service.http.post("/v1/embeddings", content=body)
    assert response.status_code == status, response.text
    check_shape(response)
