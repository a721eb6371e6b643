"""Rate limits of real processes: shared through Valkey, and of no harm when it is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx

from tests.api.test_bad_input import check_shape
from tests.conftest import ServiceProcess, ValkeyProcess

Start = Callable[..., ServiceProcess]
KEYS = ("first-key-1", "other-key-1")


def ask(service: ServiceProcess, texts: int, key: str = KEYS[0]) -> httpx.Response:
    body = {"inputs": [f"a text, number {number}" for number in range(texts)]}
    return service.http.post("/v1/encode", json=body, headers={"authorization": f"Bearer {key}"})


def test_processes_share_what_a_key_may_ask_for(
    valkey: ValkeyProcess, processes: Start, tmp_path: Path
) -> None:
    services = [
        processes(
            "all",
            tmp_path / name,
            REDIS_URL=valkey.url,
            POLYHEAD_RATE_LIMIT="30 per 10 hours",
            POLYHEAD_API_KEYS=",".join(f"manage:{key}" for key in KEYS),
        )
        for name in ("one", "two")
    ]
    for service in services:
        assert ask(service, 12).status_code == 200  # cached or not: texts are what counts
    for service in services:
        refused = ask(service, 12)
        assert refused.status_code == 429
        error = check_shape(refused)
        assert (error["code"], error["type"]) == ("rate_limited", "rate_limit_error")
        assert int(refused.headers["retry-after"]) >= 1
        assert ask(service, 12, KEYS[1]).status_code == 200
    assert ask(services[0], 6).status_code == 200
    assert ask(services[1], 1).status_code == 429
    too_many = ask(services[1], 31, KEYS[1])
    assert too_many.status_code == 422
    assert check_shape(too_many)["code"] == "over_rate_limit"
    # Nothing of a key is in the server: a name that only who has the key can compute.
    names = [name.decode() for name in valkey.client.scan_iter("ph-rate*")]
    names += [name.decode() for name in valkey.client.scan_iter("*LIMITER*")]
    assert names
    assert not any(key in name for key in KEYS for name in names)

    valkey.kill()
    try:
        for _ in range(5):
            assert ask(services[0], 12).status_code == 200
    finally:
        valkey.start()
    services[0].http.headers["authorization"] = f"Bearer {KEYS[0]}"
    assert services[0].metric("polyhead_rate_limit_failures_total") >= 5
    assert services[0].metric("polyhead_rate_limited_total") >= 12


def test_without_a_redis_a_process_counts_for_itself(processes: Start, tmp_path: Path) -> None:
    service = processes("all", tmp_path, POLYHEAD_RATE_LIMIT="5/hour")
    assert ask(service, 5).status_code == 200
    assert ask(service, 1).status_code == 429
    by_keys = service.http.post("/v1/predict", json={"keys": ["0" * 32]})
    assert by_keys.status_code == 429
    assert service.http.get("/v1/tasks").status_code == 200  # which asks for no text
