"""app.encoding.remote: the caller's deadline and client go along to the encoder process."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cache.keys import StoredCode, digest_texts
from app.encoding.addresses import parse_places
from app.encoding.encoders import RemoteEncoders
from app.encoding.protocol import OWN_WORK, EncodeResult, EncodeTiming, Origin
from app.encoding.remote import write_result
from app.errors import DeadlineExceeded
from app.metrics import Metrics
from tests.unit.house import FINGERPRINT, INFO, code_of


class Encoder:
    """An encoder process as far as its answers go; keeps the headers of what was asked."""

    def __init__(self, folder: Path, status: int = 200) -> None:
        self.status = status
        self.headers: dict[str, str] = {}
        transport = httpx.MockTransport(self.answer)
        self.remote = RemoteEncoders(
            parse_places("http://127.0.0.1:9"),
            "",
            30,
            folder / "e.json",
            Metrics(),
            transport=transport,
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=asdict(INFO))
        self.headers = dict(request.headers)
        codes = [StoredCode(code_of("a"), 1, False)]
        body = write_result(INFO, EncodeResult(codes, None, 1, EncodeTiming()))
        return httpx.Response(self.status, content=body)

    async def ask(self, origin: Origin) -> Any:
        return await self.remote.encode(["a"], digest_texts(FINGERPRINT, ["a"]), origin=origin)


async def test_what_is_left_of_the_time_goes_along(tmp_path: Path) -> None:
    encoder = Encoder(tmp_path)
    deadline = asyncio.get_running_loop().time() + 1000.0
    await encoder.ask(Origin("somebody", deadline))
    assert 500_000 < int(encoder.headers["x-request-timeout-ms"]) <= 1_000_000
    assert encoder.headers["x-polyhead-client"] == "somebody"


async def test_a_deadline_that_is_over_is_one_millisecond(tmp_path: Path) -> None:
    encoder = Encoder(tmp_path)
    await encoder.ask(Origin("a", asyncio.get_running_loop().time() - 5))
    assert encoder.headers["x-request-timeout-ms"] == "1"


async def test_work_of_the_services_own_has_neither(tmp_path: Path) -> None:
    encoder = Encoder(tmp_path)
    await encoder.ask(OWN_WORK)
    assert "x-request-timeout-ms" not in encoder.headers
    assert "x-polyhead-client" not in encoder.headers


async def test_an_encoder_that_was_too_late_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded):
        await Encoder(tmp_path, 504).ask(OWN_WORK)
