"""Real processes killed and started again while requests go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.test_tasks import rows, train
from tests.conftest import ServiceProcess, ValkeyProcess, process_state, wait_for
from tests.redis.load import Load, texts

Start = Callable[..., ServiceProcess]


@pytest.mark.parametrize("layout", ["string", "packed"])
def test_valkey_killed_and_restarted_under_load(
    layout: str, valkey: ValkeyProcess, processes: Start, tmp_path: Path
) -> None:
    # No front cache: every request needs the server, or the encoder in its place.
    service = processes(
        "all",
        tmp_path,
        REDIS_URL=valkey.url,
        POLYHEAD_CACHE_FRONT_MB="0",
        POLYHEAD_CACHE_LAYOUT=layout,
    )
    with Load(service, texts(20, "the cache comes and goes")) as load:
        for _ in range(2):
            time.sleep(1.0)
            answered = load.answers
            valkey.kill()
            wait_for(lambda: load.answers > answered + 20, 30, "answers without a cache")  # noqa: B023
            valkey.start()
            hits = service.metric("polyhead_cache_hits_total")
            wait_for(
                lambda: service.metric("polyhead_cache_hits_total") > hits + 20,  # noqa: B023
                30,
                "hits after the restart",
            )
    assert load.failed == []
    assert load.wrong == []
    assert service.metric("polyhead_cache_errors_total") > 0
    print(f"{load.answers} answers, none failed or wrong, slowest {load.slowest * 1e3:.0f} ms")


@pytest.mark.parametrize("layout", ["string", "packed"])
def test_values_that_are_not_ours_are_misses(
    layout: str, valkey: ValkeyProcess, processes: Start, tmp_path: Path
) -> None:
    service = processes(
        "all",
        tmp_path,
        REDIS_URL=valkey.url,
        POLYHEAD_CACHE_FRONT_MB="0",
        POLYHEAD_CACHE_LAYOUT=layout,
    )
    right = service.predict("poisoned or not")["data"][0]["predictions"]
    (key,) = valkey.client.keys("ph1:*" if layout == "string" else "php:*")
    fields = valkey.client.hkeys(key) if layout == "packed" else []

    def held() -> bytes:
        return valkey.client.hget(key, fields[0]) if fields else valkey.client.get(key)

    def poison(bad: bytes) -> None:
        if fields:
            valkey.client.hset(key, fields[0], bad)
        else:
            valkey.client.set(key, bad)

    good = held()
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    for bad in (b"", b"x", good[:-1], good + b"\0", flipped, bytes(len(good))):
        poison(bad)
        answer = service.predict("poisoned or not")
        assert answer["usage"]["encoded"] == 1
        assert answer["data"][0]["predictions"] == right
    assert held() == good  # repaired by the last encode


def test_one_activation_reaches_every_api_process_and_cached_texts_outlive_the_encoder(
    valkey: ValkeyProcess, processes: Start, tmp_path: Path
) -> None:
    encoder = processes("encoder", tmp_path / "encoder", REDIS_URL=valkey.url)
    apis = [
        processes(
            "api",
            tmp_path / "api",
            REDIS_URL=valkey.url,
            POLYHEAD_ENCODER_URL=encoder.url,
            POLYHEAD_CACHE_FRONT_MB="0",
        )
        for _ in range(2)
    ]
    one, other = apis
    # A text encoded through one api is a hit in the other.
    assert one.predict("shared between processes")["usage"]["encoded"] == 1
    assert one.http.get("/v1/stats").json()["encoder"]["passes"] == 1
    shared = other.predict("shared between processes")["usage"]
    assert (shared["cached"], shared["encoded"]) == (1, 0)
    assert other.http.get("/v1/stats").json()["encoder"]["passes"] == 0
    full = other.http.post("/v1/embeddings", json={"input": "floats too", "precision": "full"})
    assert (
        len(full.json()["data"][0]["embedding"])
        == other.http.get("/info").json()["encoder"]["bits"]
    )

    one.http.put("/v1/tasks/fruit", json={})
    job = train(one, "fruit", examples=rows(60))
    assert job["status"] == "succeeded", job
    assert other.http.get(f"/v1/jobs/{job['id']}").json()["status"] == "succeeded"
    started = time.monotonic()
    wait_for(lambda: active(other) == 1, 2, "the other process's view of version 1")
    seen_after = time.monotonic() - started
    train(one, "fruit", examples=rows(60, seed=1))
    other.http.post("/v1/tasks/fruit/versions/2/activate")
    wait_for(lambda: active(one) == 2, 2, "the first process's view of version 2")
    print(f"an activation was seen by the other process after {seen_after:.2f} s")

    encoder.kill()
    for api in apis:
        assert api.predict("shared between processes")["usage"]["cached"] == 1
        missed = api.http.post("/v1/predict", json={"inputs": "never seen before"})
        assert missed.status_code == 503
        assert int(missed.headers["retry-after"]) >= 1
        assert missed.json()["error"]["code"] == "encoder_unavailable"
        assert api.http.get("/ready").json()["encoder"] == "down"

    # An api started while the encoder is down answers cached texts as well.
    late = processes(
        "api", tmp_path / "api", REDIS_URL=valkey.url, POLYHEAD_ENCODER_URL=encoder.url
    )
    assert late.predict("shared between processes")["usage"]["cached"] == 1
    encoder.start()
    wait_for(
        lambda: late.http.post("/v1/predict", json={"inputs": "new"}).status_code == 200,
        30,
        "answers after the encoder's return",
    )


def active(api: ServiceProcess) -> int | None:
    response = api.http.get("/v1/tasks/fruit")
    return response.json().get("active_version")


def test_everything_survives_kill_9(processes: Start, tmp_path: Path) -> None:
    service = processes("all", tmp_path)
    service.http.put("/v1/tasks/fruit", json={})
    train(service, "fruit", examples=rows(60))
    before = service.predict(texts(50, "kept"), tasks=["fruit"])
    assert before["usage"]["encoded"] == 50
    service.http.delete("/v1/tasks/emotion")
    children = service.children()
    assert len(children) >= 2  # Valkey, and the worker that trained
    service.kill()
    ended = ([], ["Z"])  # one that nobody has waited for yet is a Z
    wait_for(lambda: all(process_state(pid)[:1] in ended for pid in children), 20, "their end")

    service.start()
    after = service.predict(texts(50, "kept"), tasks=["fruit"])
    assert after["usage"]["cached"] == 50
    predictions = [[row["predictions"] for row in answer["data"]] for answer in (before, after)]
    assert predictions[0] == predictions[1]
    assert service.http.get("/v1/tasks/emotion").status_code == 404  # deleted stays deleted


def test_the_embedded_valkey_is_restarted_when_killed(processes: Start, tmp_path: Path) -> None:
    import redis

    service = processes("all", tmp_path, POLYHEAD_CACHE_FRONT_MB="0")
    service.predict(texts(20, "embedded"))
    socket = tmp_path / "data" / "valkey" / "valkey.sock"
    client = redis.Redis(unix_socket_path=str(socket))
    pid = client.info("server")["process_id"]
    import os
    import signal

    os.kill(pid, signal.SIGKILL)
    assert service.predict(texts(20, "embedded"))["usage"]["inputs"] == 20
    wait_for(lambda: service.http.get("/ready").json()["cache"] == "up", 10, "the new Valkey")
    assert service.predict(texts(20, "embedded"))["usage"]["cached"] == 20
    assert client.info("server")["process_id"] != pid


def test_one_process_a_data_directory(processes: Start, tmp_path: Path) -> None:
    processes("all", tmp_path)
    second = ServiceProcess("all", tmp_path)
    with pytest.raises(RuntimeError, match="in use by another process"):
        second.start()
    assert second.process is not None
    assert second.process.wait(10) != 0
    assert "cannot start" in second.log.read_text()
    assert "Traceback" not in second.log.read_text()


def test_keys_and_scopes(valkey: ValkeyProcess, processes: Start, tmp_path: Path) -> None:
    keys = {"predict": "predict-key-1", "manage": "manage-key-1"}
    service = processes(
        "all",
        tmp_path,
        REDIS_URL=valkey.url,
        POLYHEAD_API_KEYS=",".join(f"{scope}:{key}" for scope, key in keys.items()),
    )

    def status(method: str, path: str, key: str | None) -> int:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        body = {"inputs": "a"} if path == "/v1/predict" else {}
        return service.http.request(method, path, json=body, headers=headers).status_code

    for method, path in (("POST", "/v1/predict"), ("GET", "/v1/tasks"), ("GET", "/metrics")):
        assert status(method, path, None) == 401
        assert status(method, path, "wrong-key-12345") == 401
        assert status(method, path, "") == 401
        assert status(method, path, keys["predict"]) == 200
        assert status(method, path, keys["manage"]) == 200
    assert status("PUT", "/v1/tasks/mine", keys["predict"]) == 403
    assert status("PUT", "/v1/tasks/mine", keys["manage"]) == 201
    assert status("GET", "/health", None) == 200
    log = service.log.read_text()
    assert not any(key in log for key in (*keys.values(), "wrong-key-12345"))
    response = service.http.get("/v1/tasks")
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"]["code"] == "invalid_api_key"
