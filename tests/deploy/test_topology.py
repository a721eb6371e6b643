"""What the compose file promises, on its services as real processes: see scripts/topology.py."""

from __future__ import annotations

import signal
import threading
import time

import httpx

from benchmarks.processes import wait_for
from scripts.topology import Replica, Topology
from tests.deploy.conftest import Callers, until_all_are_asked


def asked(topology: Topology, api: Replica) -> int:
    """How many requests for predictions an api has answered."""
    headers = {"authorization": f"Bearer {topology.keys['predict']}"}
    text = httpx.get(api.url + "/metrics", headers=headers, trust_env=False).text
    lines = [line for line in text.splitlines() if line.startswith("polyhead_requests_total{")]
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if "/v1/predict" in line)


def test_a_prediction_through_the_proxy_is_cached_for_every_api(
    topology: Topology, callers: Callers
) -> None:
    before = [asked(topology, api) for api in topology.replicas["api"]]
    with callers.client() as client:
        answers = [
            client.post("/v1/predict", json={"inputs": "My card has not arrived."}).json()
            for _ in range(9)
        ]
    assert [answer["usage"]["encoded"] for answer in answers] == [1] + [0] * 8
    assert len({str(answer["data"][0]["predictions"]) for answer in answers}) == 1
    after = [asked(topology, api) for api in topology.replicas["api"]]
    assert all(now > then for now, then in zip(after, before, strict=True)), "one api is not asked"


def test_a_key_is_needed_and_the_proxy_takes_none_away(topology: Topology) -> None:
    answer = httpx.post(f"{topology.url}/v1/predict", json={"inputs": "x"}, trust_env=False)
    assert answer.status_code == 401
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_an_api_killed_under_load_fails_no_request(topology: Topology, callers: Callers) -> None:
    with callers.asking():
        callers.wait_for(100)
        topology.replicas["api"][0].kill()
        callers.wait_for(200)
        killed = callers.outcomes.copy()
        until_all_are_asked(topology)
        callers.wait_for(100)
        topology.replicas["api"][1].kill()
        callers.wait_for(200)
    print(f"while killing: {killed}, and the other one: {callers.outcomes}")
    assert callers.none_failed_for_good(), callers.outcomes
    assert callers.outcomes.total() >= 600
    until_all_are_asked(topology)


def test_apis_rolled_with_sigterm_fail_no_request(topology: Topology, callers: Callers) -> None:
    """Reads and changes: a process that drains is asked nothing new, and answers what it has."""
    changes: list[int | str] = []
    over = threading.Event()

    def change() -> None:
        with callers.client() as client:
            while not over.wait(0.01):
                try:
                    body = {"description": "rolled"}
                    changes.append(client.put("/v1/tasks/rolled", json=body).status_code)
                except httpx.HTTPError as error:
                    changes.append(type(error).__name__)

    changing = threading.Thread(target=change)
    with callers.asking():
        changing.start()
        for api in topology.replicas["api"]:
            callers.wait_for(50)
            api.stop()
            until_all_are_asked(topology)
        over.set()
        changing.join()
    print(f"predictions: {callers.outcomes}; changes: {len(changes)}")
    assert callers.none_failed_for_good(), callers.outcomes
    assert set(changes) <= {200, 201}
    assert len(changes) > 50


def test_a_change_that_cannot_have_arrived_is_tried_on_the_other_api(
    topology: Topology, callers: Callers
) -> None:
    topology.replicas["api"][1].kill()
    with callers.client() as client:
        statuses = {
            client.put("/v1/tasks/refused", json={"description": str(n)}).status_code
            for n in range(20)
        }
    assert statuses <= {200, 201}
    until_all_are_asked(topology)


def test_a_scaled_api_is_asked_and_one_that_is_gone_is_not(
    topology: Topology, callers: Callers
) -> None:
    third = topology.add("api")
    third.wait_until_ready()
    try:
        with callers.asking():
            wait_for(lambda: asked(topology, third) > 0, 15, "a request to the third api")
            third.stop()
            callers.wait_for(100)
        assert set(callers.outcomes) == {"200"}
    finally:
        third.kill()
        topology.replicas["api"].remove(third)


def test_an_encoder_killed_under_load_fails_no_request(
    topology: Topology, callers: Callers
) -> None:
    with callers.asking():
        for encoder in topology.replicas["encoder"]:
            callers.wait_for(100)
            encoder.kill()
            callers.wait_for(150)
            encoder.start()
            encoder.wait_until_ready()
            time.sleep(6)  # until the apis ask it again
    print(f"while killing encoders: {callers.outcomes}")
    assert set(callers.outcomes) == {"200"}


def test_without_an_api_the_proxy_answers_in_the_contract_s_shape(
    topology: Topology, callers: Callers
) -> None:
    for api in topology.replicas["api"]:
        api.end(signal.SIGKILL, 10)
    with callers.client() as client:
        answer = client.post("/v1/predict", json={"inputs": "anybody?"})
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["code"] == "no_api"
        assert client.get("/nowhere").status_code == 503
    until_all_are_asked(topology)
    with callers.client() as client:
        assert client.post("/v1/predict", json={"inputs": "again"}).status_code == 200
