"""Two real encoder processes behind a real api: killed, frozen, ended, another, come and gone."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks import causes
from tests.conftest import ServiceProcess, ValkeyProcess, wait_for

Start = Callable[..., ServiceProcess]
CLIENTS = 4
LONG = "and then it went on, word after word, without an end " * 8


@dataclass
class Fleet:
    """Encoders, and an api before them."""

    encoders: list[ServiceProcess]
    api: ServiceProcess

    def states(self) -> dict[str, str]:
        """By port."""
        rows = self.api.http.get("/info").json()["encoders"]
        return {row["label"].rpartition(":")[2]: row["state"] for row in rows}

    def state(self, number: int) -> str | None:
        return self.states().get(str(self.encoders[number].port))

    def passes(self, number: int) -> float:
        return self.encoders[number].metric("polyhead_encoder_passes_total")


@pytest.fixture
def fleet(valkey: ValkeyProcess, processes: Start, tmp_path: Path) -> Fleet:
    common = {"REDIS_URL": valkey.url, "POLYHEAD_CACHE_FRONT_MB": "0", "POLYHEAD_THREADS": "1"}
    encoders = [processes("encoder", tmp_path / f"encoder{n}", **common) for n in range(2)]
    url = ",".join(one.url for one in encoders)
    return Fleet(encoders, processes("api", tmp_path / "api", POLYHEAD_ENCODER_URL=url, **common))


@dataclass
class Asked:
    """What became of requests for texts that are not cached."""

    statuses: Counter[int] = field(default_factory=Counter)
    slowest: float = 0.0
    codes: dict[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(self.statuses.values())


@contextmanager
def misses(
    api: ServiceProcess, about: str, text: str = "", clients: int = CLIENTS
) -> Iterator[Asked]:
    """Clients that ask one new text after another; a connection that breaks is status 0."""
    asked, over, numbers = Asked(), threading.Event(), itertools.count()

    def ask() -> None:
        with httpx.Client(base_url=api.url, timeout=60) as client:
            while not over.is_set():
                one = f"{about}, number {next(numbers)} {text}"
                began = time.monotonic()
                try:
                    response = client.post("/v1/encode", json={"inputs": one})
                except httpx.TransportError:
                    asked.statuses[0] += 1
                    continue
                asked.slowest = max(asked.slowest, time.monotonic() - began)
                asked.statuses[response.status_code] += 1
                if response.status_code == 200:
                    asked.codes[one] = response.json()["data"][0]["code"]

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield asked
    finally:
        over.set()
        for thread in threads:
            thread.join()


def wait_for_more(asked: Asked, count: int = 40) -> None:
    before = asked.count
    wait_for(lambda: asked.count > before + count, 60, "more answers")


def check_codes(fleet: Fleet, asked: Asked) -> None:
    """All codes are what the first encoder alone makes of the texts."""
    texts = list(asked.codes)
    for start in range(0, len(texts), 256):
        some = texts[start : start + 256]
        body = {"inputs": some, "embeddings": False}
        answer = fleet.encoders[0].http.post("/internal/encode", json=body).json()
        joined = b64decode(answer["codes"])
        width = len(joined) // len(some)
        right = [joined[n * width : (n + 1) * width] for n in range(len(some))]
        assert [asked.codes[text] for text in some] == [b64encode(one).decode() for one in right]


def test_an_encoder_killed_under_load_loses_no_request_and_is_used_again(fleet: Fleet) -> None:
    with misses(fleet.api, "killed") as asked:
        wait_for_more(asked)
        before = [fleet.passes(n) for n in (0, 1)]
        assert min(before) > 0  # both work
        fleet.encoders[0].kill()
        wait_for_more(asked)
        assert fleet.state(0) == "unreachable"
        assert fleet.api.http.get("/ready").json()["encoders"] == {"unreachable": 1, "up": 1}
        fleet.encoders[0].start()
        wait_for(lambda: fleet.state(0) == "up", 10, "its return")
        passes = fleet.passes(0)
        wait_for_more(asked)
        assert fleet.passes(0) > passes
    print(f"{asked.count} requests, slowest {asked.slowest * 1e3:.0f} ms")
    assert asked.statuses == {200: asked.count}
    check_codes(fleet, asked)
    page = fleet.api.http.get("/metrics").text
    label = f'encoder="127.0.0.1:{fleet.encoders[0].port}"'
    assert f'polyhead_encoder_ejections_total{{{label},reason="unreachable"}}' in page
    assert f"polyhead_encoder_up{{{label}}} 1.0" in page
    log = fleet.api.log.read_text()
    assert f"encoder 127.0.0.1:{fleet.encoders[0].port} is out: unreachable" in log
    assert "Traceback" not in log


def test_a_frozen_encoder_costs_some_requests_seconds_and_none_its_answer(fleet: Fleet) -> None:
    with misses(fleet.api, "frozen") as asked:
        wait_for_more(asked)
        with causes.frozen(fleet.encoders[0]):
            wait_for(lambda: fleet.state(0) == "timeout", 10, "its being found out")
            wait_for_more(asked)
            found_out = asked.slowest
            asked.slowest = 0.0
            wait_for_more(asked, 100)
            after = asked.slowest
        wait_for(lambda: fleet.state(0) == "up", 15, "its return")
        passes = fleet.passes(0)
        wait_for_more(asked)
        assert fleet.passes(0) > passes
    print(f"{asked.count} requests; slowest {found_out:.1f} s, afterwards {after * 1e3:.0f} ms")
    assert asked.statuses == {200: asked.count}
    assert found_out < 8  # PROBE_EVERY_S + PROBE_TIMEOUT_S, on a busy machine
    assert after < found_out
    check_codes(fleet, asked)


@pytest.mark.parametrize("drain_s", ["0", "2"])
def test_sigterm_of_an_encoder_under_load_loses_nothing(
    drain_s: str, valkey: ValkeyProcess, processes: Start, tmp_path: Path
) -> None:
    common = {"REDIS_URL": valkey.url, "POLYHEAD_THREADS": "1", "POLYHEAD_DRAIN_S": drain_s}
    encoders = [processes("encoder", tmp_path / f"encoder{n}", **common) for n in range(2)]
    url = ",".join(one.url for one in encoders)
    fleet = Fleet(encoders, processes("api", tmp_path / "api", POLYHEAD_ENCODER_URL=url, **common))
    with misses(fleet.api, "ended", LONG) as asked:
        wait_for_more(asked)
        process = encoders[0].process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        if float(drain_s):
            wait_for(lambda: fleet.state(0) == "status", 5, "its being out of use")
            assert process.poll() is None  # it is asked no more, and still there
        assert process.wait(25) in (0, -signal.SIGTERM)
        print(f"ended {time.monotonic() - began:.1f} s after the signal")
        wait_for_more(asked)
    assert asked.statuses == {200: asked.count}
    assert "Traceback" not in encoders[0].log.read_text()
    assert "Traceback" not in fleet.api.log.read_text()


def test_an_encoder_of_another_model_is_never_asked(
    fleet: Fleet, processes: Start, tmp_path: Path
) -> None:
    stranger = fleet.encoders[1]
    stranger.stop()
    stranger.environment["POLYHEAD_MAX_TOKENS"] = "128"  # another fingerprint
    with misses(fleet.api, "another") as asked:
        stranger.start()
        wait_for(lambda: fleet.state(1) == "other code", 10, "its being found out")
        wait_for_more(asked)
    assert asked.statuses == {200: asked.count}
    assert fleet.passes(1) == 0
    check_codes(fleet, asked)
    assert fleet.api.http.get("/ready").json()["encoders"] == {"up": 1, "other code": 1}
    assert "makes other codes than most" in fleet.api.log.read_text()
    # Left alone, it is the encoder: another model is put in place this way.
    fleet.encoders[0].kill()
    wait_for(lambda: fleet.state(1) == "up", 10, "its being taken over")
    answer = fleet.api.http.post("/v1/encode", json={"inputs": "by the other one"}).json()
    assert answer["encoder"] == stranger.http.get("/info").json()["encoder"]["fingerprint"]


def test_a_request_of_many_texts_is_divided(fleet: Fleet) -> None:
    texts = [f"one of many, number {n}, and some more words to it" for n in range(600)]
    before = [fleet.passes(n) for n in (0, 1)]
    answer = fleet.api.http.post("/v1/encode", json={"inputs": texts}).json()
    shares = [fleet.passes(n) - before[n] for n in (0, 1)]
    print(f"shares: {shares}")
    assert sum(shares) == answer["usage"]["encoded"] == len(texts)
    assert min(shares) > 100
    codes = {text: row["code"] for text, row in zip(texts, answer["data"], strict=True)}
    check_codes(fleet, Asked(codes=codes))


def test_a_text_that_is_asked_for_by_many_at_once_is_encoded_once(fleet: Fleet) -> None:
    before = sum(fleet.passes(n) for n in (0, 1))
    blocking = threading.Thread(
        target=fleet.api.http.post,
        args=("/v1/encode",),
        kwargs={"json": {"inputs": [f"{n} {LONG}" for n in range(64)]}},
    )
    blocking.start()
    time.sleep(0.05)
    answers: list[Any] = []

    def ask() -> None:
        with httpx.Client(base_url=fleet.api.url, timeout=60) as client:
            body = {"inputs": "asked by many at once"}
            answers.append(client.post("/v1/encode", json=body).json())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in [*threads, blocking]:
        if thread is not blocking:
            thread.start()
    for thread in [*threads, blocking]:
        thread.join()
    assert len({answer["data"][0]["code"] for answer in answers}) == 1
    assert sum(fleet.passes(n) for n in (0, 1)) - before == 64 + 1


def test_sigterm_of_an_api_under_load_is_seen_before_it_ends(
    valkey: ValkeyProcess, processes: Start, tmp_path: Path
) -> None:
    common = {"REDIS_URL": valkey.url}
    encoder = processes("encoder", tmp_path / "encoder", **common)
    drain = {"POLYHEAD_DRAIN_S": "2", "POLYHEAD_ENCODER_URL": encoder.url}
    api = processes("api", tmp_path / "api", **common, **drain)
    process = api.process
    assert process is not None
    with misses(api, "drained", clients=1) as asked:
        wait_for_more(asked, 10)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        with httpx.Client(base_url=api.url) as client:
            wait_for(lambda: client.get("/ready").status_code == 503, 1, "being unready")
            told = client.get("/ready")
            assert told.json() == {"ready": False, "draining": True}
            assert told.headers["connection"] == "close"
            assert client.get("/health").status_code == 200
        seen = time.monotonic() - began
        wait_for_more(asked, 10)  # and still serving, each on a connection of its own
    assert process.wait(10) in (0, -signal.SIGTERM)
    ended = time.monotonic() - began
    print(f"unready after {seen * 1e3:.0f} ms, ended after {ended:.1f} s")
    assert asked.statuses == {200: asked.count}
    assert ended >= 2
    assert "Traceback" not in api.log.read_text()
