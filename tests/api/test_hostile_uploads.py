"""Uploads of hostile shape: the contract's error that names the place, and the service goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.api.test_bad_input import check_shape
from tests.conftest import ServiceProcess

DEEP = "[" * 100_000
FILES: list[tuple[str, str, bytes]] = [
    ("columns without number", "a.csv", b"," * 1_000_000 + b"\na,b\n"),
    ("an open quote", "a.csv", b'text,label\n"' + b"a" * 1_000_000),
    ("quotes in quotes", "a.csv", b"text,label\n" + b'"' * 100_001 + b",a\n"),
    ("NUL", "a.csv", b"text,label\na\x00b,c\n"),
    ("UTF-16", "a.csv", "text,label\na,b\n".encode("utf-16")),
    ("no header", "a.csv", b"\n" * 1000),
    ("the same column twice", "a.csv", b"text,text,label\na,b,c\n"),
    ("ragged", "a.csv", b"text,label\n" + b"a,b\n" * 1000 + b"a\n"),
    ("empty texts", "a.csv", b"text,label\n" + b",a\n" * 1000),
    ("a label without end", "a.csv", b"text,label\na," + b"b" * 1_000_000 + b"\n"),
    ("one label", "a.csv", b"text,label\n" + b"a,b\n" * 1000),
    ("old newlines", "a.csv", b"text,label\ra,b\rc"),
    ("a program", "a.csv", b"\x7fELF" + bytes(range(256)) * 100),
    ("an archive", "a.jsonl", b"PK\x03\x04" + bytes(1000)),
    ("deep", "a.jsonl", DEEP.encode()),
    ("deep within", "a.jsonl", b'{"text": ' + DEEP.encode()),
    ("an array", "a.jsonl", b"[]\n[]\n"),
    ("half a line", "a.jsonl", b'{"text": "a", "label": "b"}\n{"text": "a'),
    ("other fields", "a.jsonl", b'{"text": "a", "label": "b", "__class__": "os.system"}\n'),
    ("lone surrogates", "a.jsonl", b'{"text": "\\ud800", "label": "b"}\n'),
    ("a pickle", "a.pkl", b"\x80\x04\x95cos\nsystem\n"),
    ("a path", "../../etc/passwd", b"text,label\na,b\n"),
]


@pytest.fixture(scope="module")
def task(service: ServiceProcess) -> Iterator[str]:
    path = "/v1/tasks/hostile"
    assert service.http.put(path, json={}).status_code == 201
    yield f"{path}/versions"
    assert service.http.delete(path).status_code == 200


@pytest.mark.parametrize(("name", "data"), [f[1:] for f in FILES], ids=[f[0] for f in FILES])
def test_hostile_files_are_refused(
    service: ServiceProcess, task: str, name: str, data: bytes
) -> None:
    response = service.http.post(task, files={"file": (name, data)})
    assert response.status_code in (400, 422), response.text[:500]
    error = check_shape(response)
    assert len(error["message"]) < 500
    assert service.http.get("/health").status_code == 200


def test_an_upload_over_the_limit_is_cut(service: ServiceProcess, task: str) -> None:
    def parts() -> Iterator[bytes]:
        yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
        for _ in range(80):
            yield b"a" * 1024 * 1024  # 80 MB, where 64 are let in

    import httpx

    headers = {"content-type": "multipart/form-data; boundary=x"}
    try:
        response = service.http.post(task, content=parts(), headers=headers)
    except httpx.TransportError:
        return  # the server closed while we were sending
    assert response.status_code == 413


@pytest.mark.parametrize("count", [17, 10_000])
def test_forms_of_many_fields_are_refused(service: ServiceProcess, task: str, count: int) -> None:
    fields = {f"f{number}": "a" for number in range(count)}
    response = service.http.post(task, data=fields, files={"file": ("a.csv", b"text,label\na,b\n")})
    assert response.status_code in (400, 413, 422)
    check_shape(response)


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=y"],
)
def test_forms_that_are_none_are_refused(
    service: ServiceProcess, task: str, content_type: str
) -> None:
    response = service.http.post(
        task, content=b"--x\r\nnothing", headers={"content-type": content_type}
    )
    assert response.status_code in (400, 422), response.text
    check_shape(response)


def test_deep_json_is_refused(service: ServiceProcess, task: str) -> None:
    for body in (f'{{"examples": {DEEP}', json.dumps({"examples": [[[[]]]]})):
        response = service.http.post(task, content=body)
        assert response.status_code in (400, 422)
        check_shape(response)
