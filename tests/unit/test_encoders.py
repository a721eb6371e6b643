"""app.encoding.encoders: what follows from encoders' answers, and from none."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from app.cache.keys import StoredCode, digest_texts
from app.encoding import remote, watching
from app.encoding.addresses import Place, parse_places
from app.encoding.encoders import RemoteEncoders
from app.encoding.fleet import PART_TOKENS
from app.encoding.protocol import (
    OWN_WORK,
    EncoderChanged,
    EncodeResult,
    EncodeTiming,
    Origin,
)
from app.encoding.remote import write_result
from app.errors import DeadlineExceeded, EncoderUnavailable, Overloaded
from app.metrics import Metrics, value_of
from models.encoder import EncoderInfo
from tests.unit.house import FINGERPRINT, INFO, code_of, embedding_of

OTHER = replace(INFO, fingerprint="f" * 32)
Answer = Callable[[httpx.Request], httpx.Response]


@dataclass
class Encoder:
    """An encoder process as far as its answers go."""

    info: EncoderInfo = INFO
    trouble: Answer | None = None  # answers encode calls in its place
    frozen: asyncio.Event | None = None  # answers nothing until this is set
    seen: list[str] = field(default_factory=list)
    probes: int = 0

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if self.frozen is not None:
            await self.frozen.wait()
        if request.method == "GET":
            self.probes += 1
            return httpx.Response(200, json=asdict(self.info))
        body = orjson.loads(request.content)
        self.seen += body["inputs"]
        if self.trouble is not None:
            return self.trouble(request)
        result = EncodeResult(
            codes=[StoredCode(code_of(text), len(text), False) for text in body["inputs"]],
            embeddings=[embedding_of(t) for t in body["inputs"]] if body["embeddings"] else None,
            encoded=len(body["inputs"]),
            timing=EncodeTiming(0.1, 0.2, 0.3),
        )
        return httpx.Response(200, content=write_result(self.info, result))


def refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def break_off(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("broken", request=request)


def status(code: int, **headers: str) -> Answer:
    return lambda _: httpx.Response(code, headers=headers)


class Several:
    """Encoders at 10.0.0.1, 10.0.0.2, ..., behind a name."""

    def __init__(self, folder: Path, *those: Encoder) -> None:
        self.those = list(those)
        self.numbers = [f"10.0.0.{n + 1}" for n in range(len(those))]
        self.metrics = Metrics()
        self.looked_up: asyncio.Event | None = None  # look-ups hang until this is set
        self.remote = RemoteEncoders(
            parse_places("http://encoder:8081"),
            "",
            30,
            folder / "e.json",
            self.metrics,
            find=self.find,
            transport=httpx.MockTransport(self.answer),
        )

    async def find(self, place: Place) -> list[str]:
        if self.looked_up is not None:
            await self.looked_up.wait()
        if not self.numbers:
            raise OSError("no such name")
        return list(self.numbers)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["host"] == "encoder:8081"
        number = int(request.url.host.rpartition(".")[2])
        return await self.those[number - 1].answer(request)

    async def ask(self, *texts: str, **more: Any) -> EncodeResult:
        digests = digest_texts(FINGERPRINT, texts)
        return await self.remote.encode(list(texts), digests, **more)

    def states(self) -> dict[str, str]:
        return {one.label.partition(":")[0][-1]: one.state for one in self.remote.states()}

    def figure(self, line: str) -> float | None:
        for one in self.metrics.exposition().decode().splitlines():
            if one.startswith(line + " "):
                return float(one.rsplit(" ", 1)[1])
        return None

    async def until(self, check: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not check():
                await asyncio.sleep(0.01)


@pytest.fixture
async def several(tmp_path: Path) -> AsyncIterator[Callable[..., Several]]:
    made: list[Several] = []

    def make(*those: Encoder, start: bool = False) -> Several:
        made.append(Several(tmp_path / str(len(made)), *those))
        if start:
            made[-1].remote.start()
        return made[-1]

    yield make
    for one in made:
        await one.remote.close()


Make = Callable[..., Several]


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [(refuse, "unreachable"), (break_off, "unreachable"), (status(500), "status")],
)
async def test_a_miss_whose_encoder_fails_is_encoded_by_another(
    several: Make, trouble: Answer, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = Encoder(trouble=trouble), Encoder()
    both = several(bad, good)
    with caplog.at_level(logging.INFO):
        for n in range(4):
            result = await both.ask(f"text {n}")
            assert result.codes[0].code == code_of(f"text {n}")
    assert bad.seen == ["text 0"]  # out at once
    assert good.seen == [f"text {n}" for n in range(4)]
    assert both.states() == {"1": reason, "2": "up"}
    assert both.remote.is_up()
    assert f"encoder 10.0.0.1:8081 is out: {reason}" in caplog.text
    label = f'{{encoder="10.0.0.1:8081",reason="{reason}"}}'
    assert both.figure(f"polyhead_encoder_ejections_total{label}") == 1
    assert both.figure(f'polyhead_encoder_retries_total{{reason="{reason}"}}') == 1
    assert both.figure('polyhead_encoder_up{encoder="10.0.0.1:8081"}') == 0
    assert both.figure('polyhead_encoder_up{encoder="10.0.0.2:8081"}') == 1
    assert value_of(both.metrics.encoder_outstanding) == 0


async def test_texts_that_three_encoders_died_of_go_to_no_fourth(several: Make) -> None:
    four = several(*[Encoder(trouble=break_off) for _ in range(4)])
    with pytest.raises(EncoderUnavailable, match="3 encoders failed"):
        await four.ask("poison")
    assert sum(len(one.seen) for one in four.those) == 3
    refusing = several(*[Encoder(trouble=refuse) for _ in range(4)])
    with pytest.raises(EncoderUnavailable):
        await refusing.ask("nobody is there")
    assert sum(len(one.seen) for one in refusing.those) == 4


async def test_a_refusal_is_passed_on_if_nobody_has_room(several: Make) -> None:
    busy, free = Encoder(trouble=status(429, **{"retry-after": "7"})), Encoder()
    both = several(busy, free)
    assert (await both.ask("a")).codes[0].code == code_of("a")
    assert both.states() == {"1": "up", "2": "up"}  # no fault of theirs
    assert both.figure('polyhead_encoder_retries_total{reason="busy"}') == 1
    free.trouble = status(429, **{"retry-after": "3"})
    await asyncio.sleep(0.15)
    with pytest.raises(Overloaded) as refusal:
        await both.ask("b")
    assert refusal.value.retry_after == 3
    seen = len(busy.seen) + len(free.seen)
    with pytest.raises(Overloaded):
        await both.ask("c")
    assert len(busy.seen) + len(free.seen) == seen + 1  # the other has just refused: not asked


@pytest.mark.parametrize("code", [413, 422])
async def test_texts_that_an_encoder_will_not_have_are_asked_of_no_other(
    several: Make, code: int
) -> None:
    both = several(Encoder(trouble=status(code)), Encoder(trouble=status(code)))
    with pytest.raises(EncoderUnavailable, match=str(code)):
        await both.ask("a")
    assert sum(len(one.seen) for one in both.those) == 1
    assert both.states() == {"1": "up", "2": "up"}


async def test_other_codes_are_never_mixed_in(
    several: Make, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = Encoder(OTHER)
    three = several(Encoder(), foreign, Encoder())
    for n in range(6):
        await three.ask(f"text {n}")
    assert foreign.seen == []
    assert three.states() == {"1": "up", "2": "other code", "3": "up"}
    assert "10.0.0.2:8081 is out: it makes other codes than most" in caplog.text
    label = '{encoder="10.0.0.2:8081",reason="other code"}'
    assert three.figure(f"polyhead_encoder_ejections_total{label}") == 1


async def test_an_encoder_that_came_back_as_another_is_found_out_by_its_answer(
    several: Make,
) -> None:
    three = several(Encoder(), Encoder(), Encoder())
    await three.ask("before")
    for one in three.those:
        one.seen.clear()
    three.those[1].info = OTHER
    for n in range(3):
        result = await three.ask(f"text {n}")
        assert result.codes[0].code == code_of(f"text {n}")
    assert three.states()["2"] == "other code"
    assert three.figure('polyhead_encoder_retries_total{reason="other code"}') == 1


async def test_if_all_change_the_caller_is_told(several: Make) -> None:
    both = several(Encoder(), Encoder())
    await both.ask("before")
    for one in both.those:
        one.info = OTHER
    with pytest.raises(EncoderChanged, match=OTHER.fingerprint):
        await both.ask("a")
    assert await both.remote.info() == OTHER
    assert both.states() == {"1": "up", "2": "up"}


async def test_a_frozen_encoder_is_waited_for_until_it_is_found_out(
    several: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PROBE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(watching, "PROBE_TIMEOUT_S", 0.3)
    both = several(Encoder(), Encoder(), start=True)
    await both.ask("before")
    thaw = both.those[0].frozen = asyncio.Event()
    loop = asyncio.get_running_loop()
    began = loop.time()
    results = await asyncio.gather(*(both.ask(f"text {n}") for n in range(8)))
    assert loop.time() - began < 5
    assert [one.codes[0].code for one in results] == [code_of(f"text {n}") for n in range(8)]
    assert both.states()["1"] == "timeout"
    assert both.figure('polyhead_encoder_retries_total{reason="timeout"}') == 1
    assert set(both.those[1].seen) >= {f"text {n}" for n in range(8)}
    thaw.set()
    await both.until(lambda: both.states()["1"] == "up")
    # All frozen: they are waited for, until one answers again.
    freezes = [asyncio.Event(), asyncio.Event()]
    for one, event in zip(both.those, freezes, strict=True):
        one.frozen = event
    waiting = asyncio.create_task(both.ask("who is there"))
    await both.until(lambda: not both.remote.is_up())
    await asyncio.sleep(0.2)
    assert not waiting.done()
    for event in freezes:
        event.set()
    assert (await asyncio.wait_for(waiting, 10)).codes[0].code == code_of("who is there")


async def test_no_second_try_after_the_deadline(several: Make) -> None:
    both = several(Encoder(trouble=break_off), Encoder(trouble=break_off))
    deadline = asyncio.get_running_loop().time() - 1
    with pytest.raises(DeadlineExceeded):
        await both.ask("late", origin=Origin("somebody", deadline))
    assert sum(len(one.seen) for one in both.those) == 1


@pytest.mark.parametrize("embeddings", [False, True])
async def test_a_large_request_is_divided_and_put_together(several: Make, embeddings: bool) -> None:
    three = several(Encoder(), Encoder(trouble=break_off), Encoder())
    size = 100
    texts = [f"{n:04d}" * 8 for n in range(4 * PART_TOKENS // 10)]
    result = await three.ask(*texts, embeddings=embeddings)
    assert [one.code for one in result.codes] == [code_of(text[:32]) for text in texts]
    assert result.encoded == len(texts)
    assert (result.timing.queue, result.timing.inference) == (0.2, 0.3)
    if embeddings:
        assert result.embeddings is not None
        for text, floats in zip(texts, result.embeddings, strict=True):
            np.testing.assert_array_equal(floats, embedding_of(text))
    else:
        assert result.embeddings is None
    for one in three.those:  # each had a good part of it
        assert len(one.seen) > size
    assert Counter(three.those[0].seen + three.those[2].seen) == Counter(texts)


async def test_of_a_divided_request_one_refusal_is_the_answer(several: Make) -> None:
    both = several(Encoder(trouble=status(429)), Encoder(trouble=status(429)))
    with pytest.raises(Overloaded):
        await both.ask(*[f"{n:04d}" * 8 for n in range(4 * PART_TOKENS // 10)])
    assert value_of(both.metrics.encoder_outstanding) == 0


async def test_what_is_behind_a_name_may_grow_and_shrink(
    several: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_UP_EVERY_S", 0.1)
    three = several(Encoder(), Encoder(), Encoder(), start=True)
    three.numbers = ["10.0.0.1"]
    await three.ask("one")
    three.numbers = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    await three.until(lambda: three.states() == {"1": "up", "2": "up", "3": "up"})
    three.those[0].trouble = status(500)
    for n in range(3):
        await three.ask(f"text {n}")
    ejections = 'polyhead_encoder_ejections_total{encoder="10.0.0.1:8081",reason="status"}'
    assert three.figure(ejections) == 1
    three.numbers = ["10.0.0.3"]
    await three.until(lambda: set(three.states()) == {"3"})
    await three.until(lambda: three.figure(ejections) is None)
    assert three.figure('polyhead_encoder_up{encoder="10.0.0.1:8081"}') is None
    three.numbers = []  # the name server is gone: they are where they were
    await asyncio.sleep(0.3)
    assert three.states() == {"3": "up"}
    assert (await three.ask("and on")).codes[0].code == code_of("and on")


async def test_nobody_waits_for_a_name_that_is_looked_up(
    several: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_UP_EVERY_S", 0.1)
    both = several(Encoder(), Encoder(), start=True)
    await both.ask("before")
    hanging = both.looked_up = asyncio.Event()
    await asyncio.sleep(0.3)
    assert (await asyncio.wait_for(both.ask("meanwhile"), 0.2)).encoded == 1
    hanging.set()


async def test_without_any_encoder_there_is_none(several: Make) -> None:
    nobody = several()
    with pytest.raises(EncoderUnavailable, match="no encoder has been reached"):
        await nobody.remote.info()
    assert not nobody.remote.is_up()


async def test_own_work_goes_on_at_another_encoder_as_well(several: Make) -> None:
    both = several(Encoder(trouble=refuse), Encoder())
    assert (await both.ask("a", "b", origin=OWN_WORK)).encoded == 2
