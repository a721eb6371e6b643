"""predict, encode and embed, with both clients: answers, splitting, retries, errors."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import polyhead
from polyhead import _calls, _config

TEXTS = [f"text number {i}" for i in range(10)]


def test_predict(client, service):
    results = client.predict(["one text", "another text here"], ["sentiment"])
    assert isinstance(results, polyhead.Predictions)
    assert [result.index for result in results] == [0, 1]
    assert results[0]["sentiment"] == polyhead.Prediction(3, "positive", 0.98)
    assert results.encoder == service.encoder
    assert results.usage == polyhead.Usage(5, 5, 2, 0, 2)
    assert service.bodies() == [
        {
            "inputs": ["one text", "another text here"],
            "tasks": ["sentiment"],
            "scores": False,
            "truncate": True,
        }
    ]
    with pytest.raises(KeyError):
        results[0]["topic"]


def test_predict_one_text_and_every_option(client, service):
    results = client.predict("one", scores=True, truncate=False)
    assert len(results) == 1
    assert results[0]["sentiment"].scores == {"positive": 0.98, "negative": 0.02}
    assert service.bodies()[0] == {
        "inputs": ["one"],
        "tasks": None,
        "scores": True,
        "truncate": False,
    }


def test_predict_by_keys(client, service):
    keys = [result.key for result in client.predict(TEXTS)]
    again = client.predict(keys=keys, tasks=["sentiment"])
    assert [result.key for result in again] == keys
    assert all(result.cached for result in again)
    assert set(service.bodies()[1]) == {"keys", "tasks", "scores"}
    with pytest.raises(polyhead.NotFound) as caught:
        client.predict(keys=["00"])
    assert caught.value.code == "key_not_found"


def test_tasks_that_could_not_answer_are_told_once(connect, service):
    client = connect(max_batch=3)
    assert client.predict(TEXTS).skipped == ()
    real = service.predict
    service.predict = lambda body: {**real(body), "skipped": [{"task": "t", "reason": "new"}]}
    assert client.predict(TEXTS).skipped == (polyhead.Skipped("t", "new"),)


@pytest.mark.parametrize("both", [{}, {"inputs": "a", "keys": ["b"]}])
def test_predict_needs_inputs_or_keys(client, service, both):
    with pytest.raises(ValueError, match="give either inputs or keys, and not both"):
        client.predict(**both)
    assert service.requests == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"inputs": []}, ValueError, "inputs must not be empty"),
        ({"keys": []}, ValueError, "keys must not be empty"),
        ({"inputs": "a", "tasks": []}, ValueError, "tasks must not be empty"),
        ({"inputs": "a", "tasks": "sentiment"}, TypeError, "tasks must be a sequence of str"),
        ({"keys": "ab"}, TypeError, "keys must be a sequence of str"),
        ({"inputs": ["a", "b\udfff"]}, ValueError, r"inputs\[1\] holds a lone surrogate, U\+DFFF"),
    ],
)
def test_wrong_arguments_send_nothing(client, service, arguments, error, message):
    with pytest.raises(error, match=message):
        client.predict(**arguments)
    assert service.requests == []


def test_encode_and_embed_refuse_the_same(client):
    for method in (client.encode, client.embed):
        with pytest.raises(ValueError, match="inputs must not be empty"):
            method([])
    with pytest.raises(ValueError, match="precision must be 'code' or 'full', not 'half'"):
        client.embed("a", precision="half")


def test_any_unicode_arrives(client, service):
    texts = ["na\u00efve \u65e5\u672c \U0001f600", '\x00 \u2028 " \\ \n', "\ufeff", "\uffff"]
    client.predict(texts)
    assert service.bodies()[0]["inputs"] == texts
    assert "日本".encode() in service.requests[0].content


@pytest.mark.parametrize("size", [1, 3, 4, 10, 256])
def test_large_inputs_are_split_and_joined_in_order(connect, service, expect, size):
    client = connect(max_batch=size)
    # Later requests answer sooner, so that order does not come by itself.
    service.hook = lambda request: time.sleep(0.02 / len(service.requests))
    results = client.predict(TEXTS)
    assert [result.index for result in results] == list(range(10))
    assert [service.stored[result.key] for result in results] == TEXTS
    assert results.usage == polyhead.Usage(30, 30, 10, 0, 10)
    assert sorted(len(body["inputs"]) for body in service.bodies())[-1] == min(size, 10)
    assert len(service.requests) == -(-10 // size)

    codes = client.encode(TEXTS)
    assert [code.code for code in codes] == [expect.code(text) for text in TEXTS]
    assert (codes.bits, codes.encoder, codes.usage.inputs) == (16, service.encoder, 10)
    assert codes[0].tokens == 3

    vectors = client.embed(TEXTS)
    assert list(vectors) == [expect.vector(text) for text in TEXTS]
    assert (vectors.model, vectors.usage.total_tokens) == ("m", 30)
    assert service.bodies()[-1]["precision"] == "code"


def test_large_texts_are_split_by_bytes(client, service):
    client.encode(["é" * 1_500_000] * 3)
    assert [len(body["inputs"]) for body in service.bodies()] == [1, 1, 1]


def test_keys_are_split_too(connect, service):
    client = connect(max_batch=3)
    keys = [result.key for result in client.predict(TEXTS)]
    assert [result.key for result in client.predict(keys=keys)] == keys
    assert [result.index for result in client.predict(keys=keys)] == list(range(10))


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_concurrency_is_used_and_bounded(connect, service, limit):
    client = connect(max_batch=1, max_concurrency=limit)
    if connect.kind == "sync":
        barrier = threading.Barrier(2)
        service.hook = lambda request: barrier.wait(5) and None if limit > 1 else None
    client.encode(TEXTS)
    assert len(service.requests) == 10
    assert service.most_in_flight <= limit
    if limit > 1:
        assert service.most_in_flight > 1


def test_an_encoder_that_changes_midway_is_refused(connect, service):
    client = connect(max_batch=5)

    def change(request):
        service.encoder = f"encoder-{len(service.requests)}"

    service.hook = change
    connect_serially = connect(max_batch=5, max_concurrency=1)
    for method in (client.predict, connect_serially.encode):
        with pytest.raises(polyhead.ProtocolError, match="the encoder changed"):
            method(TEXTS)


def test_the_first_failure_stops_the_rest(connect, service):
    client = connect(max_batch=1, max_concurrency=2)

    def fail(request):
        if b"number 3" in request.content:
            return httpx.Response(422, json={"error": {"message": "no", "param": "inputs[0]"}})
        return None

    service.hook = fail
    with pytest.raises(polyhead.InvalidField) as caught:
        client.encode([f"text number {i}" for i in range(100)])
    assert caught.value.param == "inputs[0]"
    assert caught.value.__notes__ == ["in the request that carried inputs[3:4]"]
    assert len(service.requests) <= 6


def test_a_failure_wakes_those_that_wait_to_try_again(connect, service):
    client = connect(max_batch=1, max_concurrency=2)

    def fail(request):
        if b"number 0" in request.content:
            return httpx.Response(429, headers={"retry-after": "25"}, json={})
        while len(service.requests) < 2:
            time.sleep(0.001)
        return httpx.Response(400, json={"error": {"message": "bad"}})

    service.hook = fail
    start = time.monotonic()
    with pytest.raises(polyhead.BadRequest):
        client.encode(TEXTS)
    assert time.monotonic() - start < 5
    assert len(service.requests) == 2


REFUSED = [
    httpx.Response(429),
    httpx.Response(503),
    httpx.ConnectError("no"),
    httpx.ConnectTimeout("no"),
    httpx.ReadError("no"),
    httpx.WriteError("no"),
    httpx.RemoteProtocolError("no"),
]


@pytest.mark.parametrize("failure", REFUSED, ids=lambda f: getattr(f, "status_code", repr(f)))
def test_refusals_are_tried_again(connect, service, failure):
    service.script.extend([failure] * 4)
    assert len(connect().predict("a")) == 1
    assert len(service.requests) == 5

    service.script.extend([failure] * 3)
    with pytest.raises(polyhead.PolyheadError):
        connect(max_retries=2).predict("a")
    assert len(service.requests) == 8

    service.script.append(failure)
    with pytest.raises(polyhead.PolyheadError):
        connect(max_retries=0).predict("a")
    assert len(service.requests) == 9


def test_the_client_waits_as_long_as_it_was_told(client, service, monkeypatch):
    seen = []

    def spy(attempt, status, headers, rng):
        seen.append((attempt, status, headers.get("retry-after")))
        return 0.03

    monkeypatch.setattr(_calls, "retry_delay", spy)
    service.script.extend([httpx.Response(503, headers={"retry-after": "9"}), httpx.ReadError("")])
    start = time.monotonic()
    client.predict("a")
    assert time.monotonic() - start >= 0.06
    assert seen[:2] == [(0, 503, "9"), (1, None, None)]


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (httpx.ReadTimeout("slow"), polyhead.Timeout),
        (httpx.WriteTimeout("slow"), polyhead.Timeout),
        (httpx.PoolTimeout("slow"), polyhead.Timeout),
        (httpx.DecodingError("gzip"), polyhead.ProtocolError),
        (httpx.Response(200, text="<html>"), polyhead.ProtocolError),
        (httpx.Response(200, content=b"\xff\xfe\xfa"), polyhead.ProtocolError),
        (httpx.Response(200, content=b"[" * 100_000), polyhead.ProtocolError),
        (httpx.Response(200, json={}), polyhead.ProtocolError),
        (httpx.Response(307, headers={"location": "/login"}), polyhead.ProtocolError),
        (httpx.Response(400), polyhead.BadRequest),
        (httpx.Response(401), polyhead.AuthenticationError),
        (httpx.Response(403), polyhead.PermissionDenied),
        (httpx.Response(404), polyhead.NotFound),
        (httpx.Response(409), polyhead.Conflict),
        (httpx.Response(413), polyhead.TooLarge),
        (httpx.Response(418), polyhead.APIError),
        (httpx.Response(422), polyhead.InvalidField),
        (httpx.Response(500), polyhead.ServerError),
        (httpx.Response(502), polyhead.ServerError),
        (httpx.Response(599), polyhead.ServerError),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_nothing_else_is_tried_again(client, service, failure, error):
    service.script.append(failure)
    with pytest.raises(error) as caught:
        client.predict("a")
    assert type(caught.value) is error
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (httpx.ConnectError("refused"), polyhead.ServiceUnreachable),
        (httpx.ConnectTimeout("black hole"), polyhead.ServiceUnreachable),
        (httpx.ReadError("reset"), polyhead.ServiceUnreachable),
        (httpx.Response(429), polyhead.Overloaded),
        (httpx.Response(503), polyhead.Unavailable),
    ],
)
def test_what_remains_after_all_retries(connect, service, failure, error):
    service.script.append(failure)
    with pytest.raises(error) as caught:
        connect(max_retries=0).predict("a")
    if isinstance(failure, Exception):
        assert str(caught.value) == f"POST /v1/predict: {failure}"
        assert caught.value.__cause__ is failure
    else:
        assert caught.value.retry_after is None


def test_api_errors_carry_all_fields(connect, service):
    fields = {"message": "too many", "type": "overloaded", "param": "inputs", "code": "busy"}
    headers = {"retry-after": "1.5", "x-request-id": "req-9"}
    service.script.append(httpx.Response(429, json={"error": fields}, headers=headers))
    with pytest.raises(polyhead.Overloaded) as caught:
        connect(max_retries=0).predict("a")
    error = caught.value
    assert (error.status, error.message, error.type) == (429, "too many", "overloaded")
    assert (error.param, error.code, error.request_id) == ("inputs", "busy", "req-9")
    assert error.retry_after == 1.5


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"json": {"error": {"message": 3, "code": ["x"]}}}, "Bad Gateway"),
        ({"json": {"error": "it broke"}}, "it broke"),
        ({"json": ["error"]}, "Bad Gateway"),
        ({"json": None}, "Bad Gateway"),
        ({"text": "<html>nginx</html>"}, "Bad Gateway"),
    ],
)
def test_errors_that_a_proxy_made(client, service, body, message):
    service.script.append(httpx.Response(502, **body))
    with pytest.raises(polyhead.ServerError) as caught:
        client.models()
    assert (caught.value.message, caught.value.code) == (message, None)


def test_pages(client):
    assert client.models() == [polyhead.Model("mini")]
    assert client.info() == {"page": "info"}
    assert client.stats() == {"page": "stats"}


def test_probes(client, service):
    assert client.health() is True
    assert client.ready() is True
    failures = [httpx.Response(503), httpx.Response(500), httpx.ConnectError("")]
    for failure in [*failures, httpx.ReadTimeout("")]:
        service.requests.clear()
        service.script.append(failure)
        assert client.ready() is False
        assert len(service.requests) == 1
    service.script.append(httpx.Response(200, text="ok"))
    assert client.health() is True
    service.script.append(httpx.Response(404))
    with pytest.raises(polyhead.NotFound):
        client.health()
    service.script.append(httpx.Response(302))
    with pytest.raises(polyhead.ProtocolError):
        client.health()


def test_headers_and_address(connect, service, monkeypatch):
    connect().info()
    assert str(service.requests[-1].url) == "http://127.0.0.1:8080/info"
    assert "authorization" not in service.requests[-1].headers
    agent = service.requests[-1].headers["user-agent"]
    assert agent == f"polyhead-python/{polyhead.__version__}"

    monkeypatch.setenv("POLYHEAD_URL", "https://example.org/texts/")
    monkeypatch.setenv("POLYHEAD_API_KEY", "secret\n")
    connect().predict("a")
    assert str(service.requests[-1].url) == "https://example.org/texts/v1/predict"
    assert service.requests[-1].headers["authorization"] == "Bearer secret"

    connect(base_url="http://other:1", api_key="mine").info()
    assert str(service.requests[-1].url) == "http://other:1/info"
    assert service.requests[-1].headers["authorization"] == "Bearer mine"


def test_empty_environment_is_no_environment(connect, service, monkeypatch):
    monkeypatch.setenv("POLYHEAD_URL", "")
    monkeypatch.setenv("POLYHEAD_API_KEY", "")
    connect().info()
    assert str(service.requests[-1].url) == "http://127.0.0.1:8080/info"
    assert "authorization" not in service.requests[-1].headers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_url": "localhost:8080"}, "base_url must begin with http"),
        ({"base_url": "http://"}, "base_url must begin with http"),
        ({"base_url": "http://a:b:c"}, "base_url is no URL"),
        ({"api_key": "kéy"}, "api_key must be printable ASCII"),
        ({"api_key": "a\r\nb: c"}, "api_key must be printable ASCII"),
        ({"timeout": 0}, "timeout must be positive"),
        ({"timeout": float("nan")}, "timeout must be positive"),
        ({"max_retries": -1}, "max_retries must be at least 0"),
        ({"max_batch": 0}, "max_batch must be at least 1"),
        ({"max_concurrency": 0}, "max_concurrency must be at least 1"),
    ],
)
def test_wrong_settings(options, message):
    for cls in (polyhead.Client, polyhead.AsyncClient):
        with pytest.raises(ValueError, match=message) as caught:
            cls(**options)
        assert options.get("api_key", "?") not in str(caught.value)


def test_timeouts():
    def timeout(value):
        return _config.resolve(None, None, value, 0, 1, 1, {}).http_options()["timeout"]

    assert (timeout(60.0).read, timeout(60.0).connect) == (60.0, 10.0)
    assert (timeout(3.0).read, timeout(3.0).connect) == (3.0, 3.0)
    assert (timeout(None).read, timeout(None).connect) == (None, 10.0)


def test_the_key_does_not_show():
    client = polyhead.Client("http://user:pass@host", api_key="secret")
    assert repr(client) == "Client(URL('http://user:[secure]@host'))"
    assert repr(polyhead.AsyncClient()) == "AsyncClient(URL('http://127.0.0.1:8080'))"


def test_contexts_close(service):
    import asyncio

    with polyhead.Client(transport=httpx.MockTransport(service.handle)) as client:
        client.info()
    with pytest.raises(RuntimeError, match="closed"):
        client.info()

    async def main():
        transport = httpx.MockTransport(service.ahandle)
        async with polyhead.AsyncClient(transport=transport) as client:
            await client.info()
        with pytest.raises(RuntimeError, match="closed"):
            await client.info()

    asyncio.run(main())


def test_threads_share_a_client(service):
    options = {"transport": httpx.MockTransport(service.handle), "max_batch": 2}
    with polyhead.Client(**options) as client, ThreadPoolExecutor(8) as pool:
        service.script.extend([httpx.Response(503)] * 3)
        batches = [[f"thread {n} text {i}" for i in range(7)] for n in range(20)]
        for texts, results in zip(batches, pool.map(client.predict, batches), strict=True):
            assert [service.stored[result.key] for result in results] == texts


def test_async_calls_run_at_once_and_can_be_cancelled(service):
    import asyncio

    async def main():
        transport = httpx.MockTransport(service.ahandle)
        async with polyhead.AsyncClient(transport=transport, max_batch=1) as client:
            several = await asyncio.gather(*(client.predict(f"text {i}") for i in range(5)))
            assert [len(results) for results in several] == [1] * 5
            assert service.most_in_flight >= 5

            service.requests.clear()
            service.hook = lambda request: httpx.Response(429, headers={"retry-after": "20"})
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.encode(TEXTS), 0.05)
            sent = len(service.requests)
            await asyncio.sleep(0.02)
            assert sent == len(service.requests) == 4
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_an_interrupt_is_not_held_up_by_requests_in_flight(service, monkeypatch):
    from polyhead import _fanout

    release = threading.Event()
    service.hook = lambda request: release.wait(5) and None

    def interrupted(futures):
        raise KeyboardInterrupt

    monkeypatch.setattr(_fanout, "wait", interrupted)
    options = {"transport": httpx.MockTransport(service.handle), "max_batch": 1}
    client = polyhead.Client(max_concurrency=2, **options)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        client.encode(TEXTS)
    assert time.monotonic() - start < 2
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("polyhead"):
            thread.join(5)
    assert len(service.requests) <= 2
