"""What goes wrong with a cache server while requests go on: none fails, none is answered wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from benchmarks import causes
from benchmarks.proxy import Proxy
from tests.conftest import ServiceProcess, ValkeyProcess
from tests.redis.load import Load, texts

Start = Callable[..., ServiceProcess]
Fault = Callable[[ValkeyProcess, Proxy], AbstractContextManager[None]]


def garbage(_: ValkeyProcess, proxy: Proxy, answer: bytes) -> AbstractContextManager[None]:
    return causes.garbage(proxy, answer)


FAULTS: dict[str, Fault] = {
    "frozen": lambda valkey, _: causes.frozen(valkey),
    "slow": lambda _, proxy: causes.slow(proxy),
    "other password": lambda valkey, _: causes.other_password(valkey),
    **{
        f"garbage: {name}": partial(garbage, answer=answer)
        for name, answer in causes.GARBAGE.items()
    },
}


@pytest.fixture
def proxy(valkey: ValkeyProcess) -> Iterator[Proxy]:
    made = Proxy(valkey.port)
    yield made
    made.close()


# One after another in one service: starting it takes longer than the faults do.
@pytest.mark.parametrize("layout", ["string", "packed"])
def test_faults_under_load(
    layout: str, valkey: ValkeyProcess, proxy: Proxy, processes: Start, tmp_path: Path
) -> None:
    service = processes(
        "all",
        tmp_path,
        REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0",
        POLYHEAD_CACHE_FRONT_MB="0",
        POLYHEAD_CACHE_LAYOUT=layout,
        POLYHEAD_CACHE_TTL_S="3600",
    )
    with Load(service, texts(20, "whatever the cache does")) as load:
        for name, fault in FAULTS.items():
            load.wait_for_answers(20, "answers")
            load.slowest, before = 0.0, load.answers
            errors = service.metric("polyhead_cache_errors_total")
            with fault(valkey, proxy):
                load.wait_for_answers(60, f"answers with a cache that is {name}")
            slowest, answered = load.slowest, load.answers - before
            errors = service.metric("polyhead_cache_errors_total") - errors
            load.wait_for_hits(20, f"hits after a cache that was {name}")
            print(
                f"{layout}, {name}: {answered} answers, {len(load.failed)} failed, "
                f"{len(load.wrong)} wrong, slowest {slowest * 1e3:.0f} ms, {errors:.0f} errors"
            )
    assert load.failed == []
    assert load.wrong == []
    assert "Traceback" not in service.log.read_text()


def test_a_frozen_server_is_waited_for_once_not_each_time(
    valkey: ValkeyProcess, processes: Start, tmp_path: Path
) -> None:
    service = processes("all", tmp_path, REDIS_URL=valkey.url, POLYHEAD_CACHE_FRONT_MB="0")
    service.predict("hello")
    with causes.frozen(valkey):
        for number in range(40):
            service.predict(f"hello {number}")
        waits = service.metric("polyhead_cache_errors_total")
    # Without a breaker there were 80: a get and a set each. Trials are behind the requests' back.
    assert 1 <= waits < 20


@pytest.mark.parametrize("layout", ["string", "packed"])
@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_server_that_takes_no_codes_still_gives_them(
    fault: str, layout: str, valkey: ValkeyProcess, processes: Start, tmp_path: Path
) -> None:
    service = processes(
        "all",
        tmp_path,
        REDIS_URL=valkey.url,
        POLYHEAD_CACHE_FRONT_MB="0",
        POLYHEAD_CACHE_LAYOUT=layout,
        POLYHEAD_CACHE_TTL_S="3600",
    )
    # The queue's memory of what was encoded last would answer the second request.
    known, new = texts(20, "stored before"), texts(20, "not stored")
    before = service.predict(known)
    cause = causes.full if fault == "full" else causes.read_only
    with Load(service, known[:5]) as load:
        with cause(valkey):
            load.wait_for_answers(20, "answers")
            assert service.predict(known)["usage"]["cached"] == 20
            first = service.predict(new)
            assert (first["usage"]["cached"], first["usage"]["encoded"]) == (0, 20)
            again = service.predict(new)
            assert again["usage"]["cached"] == 0
        fresh = texts(5, "stored after")
        service.predict(fresh)
        assert service.predict(fresh)["usage"]["cached"] == 5
    assert load.failed == []
    assert load.wrong == []
    assert service.metric("polyhead_cache_errors_total") > 0
    assert [row["predictions"] for row in service.predict(known)["data"]] == [
        row["predictions"] for row in before["data"]
    ]
    log = service.log.read_text()
    assert "the cache answered a set with" in log
    assert "Traceback" not in log


def test_a_wrong_password_from_the_start(
    valkey: ValkeyProcess, processes: Start, tmp_path: Path
) -> None:
    valkey.client.config_set("requirepass", "the-right-one")
    service = processes("all", tmp_path, REDIS_URL=valkey.url.replace("://", "://:the-wrong-one@"))
    assert service.predict("answered all the same")["usage"]["encoded"] == 1
    assert service.http.get("/ready").json()["cache"] == "down"
    log = service.log.read_text()
    assert "AuthenticationError" in log
    assert "the-wrong-one" not in log
    assert "Traceback" not in log
