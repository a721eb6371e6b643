"""The encoder in another process, over HTTP.

What is known of the encoder (its fingerprint, above all) is kept in a file, so that an api process
started while the encoder is down still finds cached codes.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_type_hints

import httpx
import numpy as np
import orjson

from app.cache.keys import StoredCode
from app.encoding.protocol import OWN_WORK, EncoderChanged, EncodeResult, EncodeTiming, Origin
from app.errors import DeadlineExceeded, EncoderUnavailable, Overloaded
from app.files import replace_file
from app.logs import request_id
from app.watch import HEADER as TIMEOUT_HEADER
from models.encoder import EncoderInfo

logger = logging.getLogger(__name__)

INFO_MAX_AGE_S = 2.0
# A request whose turn it is to ask waits no longer where an encoder is known: it may be frozen.
INFO_WAIT_S = 0.1
CONNECT_TIMEOUT_S = 2.0
# Whose turn the texts take in the encoder's queue: to it, all requests come from the api.
CLIENT_HEADER = "x-polyhead-client"


class RemoteEncoder:
    """Texts to codes by an encoder process (see `TextEncoder`).

    Args:
        url: the encoder's address.
        key: bearer key for it, or empty.
        timeout_s: for one encode call.
        memory: file that remembers the encoder between starts.
        transport: for tests.
    """

    def __init__(
        self,
        url: str,
        key: str,
        timeout_s: float,
        memory: Path,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.AsyncClient(
            base_url=url,
            headers=headers,
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=256, max_keepalive_connections=64),
            transport=transport,
        )
        self._memory = memory
        self._info = _recall(memory)
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[bool] | None = None

    async def info(self) -> EncoderInfo:
        """The encoder as last seen; asked anew when that is a while ago.

        Raises:
            EncoderUnavailable: it was never seen and cannot be reached now.
        """
        if time.monotonic() - self._asked_at > INFO_MAX_AGE_S:
            self._asked_at = time.monotonic()  # others go on with what is known meanwhile
            self._asking = asyncio.create_task(self.is_up())
            await asyncio.wait([self._asking], timeout=INFO_WAIT_S if self._info else None)
        if self._info is None:
            self._asked_at = float("-inf")
            raise _unavailable("the encoder has not been reached yet")
        return self._info

    async def is_up(self) -> bool:
        try:
            await self._refresh()
        except EncoderUnavailable:
            return False
        return True

    async def encode(
        self,
        texts: Sequence[str],
        digests: Sequence[bytes],
        *,
        embeddings: bool = False,
        origin: Origin = OWN_WORK,
    ) -> EncodeResult:
        """Encode distinct texts; the encoder process writes their codes to the shared cache.

        Raises:
            Overloaded: the encoder refuses more for now.
            DeadlineExceeded: it was not done in time.
            EncoderUnavailable: no answer, or a broken one.
            EncoderChanged: it has another fingerprint than `info` said; ask `info` again.
        """
        expected = await self.info()
        body = orjson.dumps({"inputs": list(texts), "embeddings": embeddings})
        answer = await self._call(
            "POST", "/internal/encode", content=body, headers=_headers_of(origin)
        )
        try:
            changed = answer["encoder"] != expected.fingerprint
            result = None if changed else _read_result(answer, len(texts), expected, embeddings)
        except (KeyError, TypeError, ValueError) as error:
            raise _unavailable("the encoder gave a broken answer") from error
        if result is None:
            await self._refresh()
            raise EncoderChanged(answer["encoder"])
        return result

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
        await self._client.aclose()

    async def _refresh(self) -> None:
        answer = await self._call("GET", "/internal/encoder", timeout=CONNECT_TIMEOUT_S)
        try:
            info = _read_info(answer)
        except (TypeError, ValueError) as error:
            raise _unavailable("the encoder gave a broken answer") from error
        if info != self._info:
            self._info = info
            _remember(self._memory, info)

    async def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        try:
            response = await self._client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise _unavailable(f"the encoder is unreachable: {type(error).__name__}") from error
        if response.status_code == 429:
            retry_after = float(response.headers.get("retry-after", "1"))
            raise Overloaded("the encoder is overloaded", retry_after=retry_after)
        if response.status_code == 504:
            raise DeadlineExceeded("the encoder was not done in time")
        if response.status_code != 200:
            raise _unavailable(f"the encoder answered {response.status_code}")
        try:
            answer = orjson.loads(response.content)
        except ValueError as error:
            raise _unavailable("the encoder gave a broken answer") from error
        if not isinstance(answer, dict):
            raise _unavailable("the encoder gave a broken answer")
        return answer


def write_result(info: EncoderInfo, result: EncodeResult) -> bytes:
    """The answer of the encoder process that `_read_result` reads."""
    floats = None
    if result.embeddings is not None:
        floats = base64.b64encode(np.stack(result.embeddings).astype("<f4").tobytes()).decode()
    return orjson.dumps(
        {
            "encoder": info.fingerprint,
            "codes": base64.b64encode(b"".join(one.code for one in result.codes)).decode(),
            "tokens": [one.tokens for one in result.codes],
            "truncated": [one.truncated for one in result.codes],
            "embeddings": floats,
            "encoded": result.encoded,
            "timing": asdict(result.timing),
        }
    )


def _read_result(
    answer: dict[str, Any], count: int, info: EncoderInfo, embeddings: bool
) -> EncodeResult:
    joined = base64.b64decode(answer["codes"], validate=True)
    width = info.code_bytes
    tokens, truncated = answer["tokens"], answer["truncated"]
    if len(joined) != width * count or len(tokens) != count or len(truncated) != count:
        raise ValueError(f"expected {count} codes of {width} bytes")
    codes = [
        StoredCode(joined[i * width : (i + 1) * width], int(tokens[i]), bool(truncated[i]))
        for i in range(count)
    ]
    floats = None
    if embeddings:
        raw = np.frombuffer(base64.b64decode(answer["embeddings"], validate=True), dtype="<f4")
        floats = list(raw.reshape(count, info.bits).astype(np.float32))
    timing = EncodeTiming(**answer["timing"])
    return EncodeResult(codes, floats, int(answer["encoded"]), timing)


def _headers_of(origin: Origin) -> dict[str, str]:
    headers = {CLIENT_HEADER: origin.client} if origin.client else {}
    if origin.trace:
        headers["traceparent"] = origin.trace
    if name := request_id.get():
        headers["x-request-id"] = name
    if origin.deadline < math.inf:
        left = origin.deadline - asyncio.get_running_loop().time()
        headers[TIMEOUT_HEADER] = str(max(1, round(left * 1e3)))
    return headers


def _unavailable(message: str) -> EncoderUnavailable:
    return EncoderUnavailable(message, retry_after=1)


def _read_info(value: Any) -> EncoderInfo:
    """An encoder's identity from JSON.

    Raises:
        TypeError, ValueError: a field is missing, unknown, or not what it has to be.
    """
    info = EncoderInfo(**value)
    for name, kind in get_type_hints(EncoderInfo).items():
        if type(getattr(info, name)) is not kind:
            raise TypeError(f"{name} must be of type {kind.__name__}")
    if not info.fingerprint or info.bits <= 0 or info.bits % 8 or info.max_tokens <= 0:
        raise ValueError("no encoder is like that")
    return info


def _recall(memory: Path) -> EncoderInfo | None:
    try:
        return _read_info(orjson.loads(memory.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _remember(memory: Path, info: EncoderInfo) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        replace_file(memory, json.dumps(asdict(info)).encode())
    except OSError as error:
        logger.warning("cannot remember the encoder: %s", error.strerror)
