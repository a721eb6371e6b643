"""One encoder process over HTTP: what is sent to it, and what its answers mean.

Which of several is asked, and what follows when one fails, is `app.encoding.encoders`' matter.
"""

from __future__ import annotations

import asyncio
import base64
import math
import ssl
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal, get_type_hints

import httpx
import numpy as np
import orjson

from app.cache.keys import StoredCode
from app.encoding.addresses import Address
from app.encoding.protocol import EncodeResult, EncodeTiming, Origin
from app.errors import DeadlineExceeded, EncoderUnavailable, Overloaded
from app.logs import request_id
from app.watch import HEADER as TIMEOUT_HEADER
from models.encoder import EncoderInfo

PROBE_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 2.0
# Whose turn the texts take in the encoder's queue: to it, all requests come from the api.
CLIENT_HEADER = "x-polyhead-client"
# Answers about a request, which any other encoder would give as well.
OF_THE_REQUEST = (400, 413, 422)


class EncoderFailed(Exception):
    """An encoder did not answer, or not as it should.

    Attributes:
        fault: in which way.
        was_sent: it may have worked on what it was asked; False where it never got it.
    """

    def __init__(
        self,
        message: str,
        fault: Literal["unreachable", "timeout", "broken", "status"],
        *,
        was_sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.fault = fault
        self.was_sent = was_sent


class EncoderClient:
    """Connections to one encoder process: each has its own, so that a frozen one holds no others'.

    Args:
        address: where it is.
        key: bearer key for it, or empty.
        timeout_s: for one encode call.
        context: for TLS.
        transport: for tests.
    """

    def __init__(
        self,
        address: Address,
        key: str,
        timeout_s: float,
        context: ssl.SSLContext,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        headers = {"host": address.named_host}
        if key:
            headers["authorization"] = f"Bearer {key}"
        # The connection goes to the number; the certificate is of the name.
        self._extensions = {"sni_hostname": address.place.host}
        # Read once: putting an address together takes as long as all that is ours in a call.
        self._info_url = httpx.URL(f"{address.url}/internal/encoder")
        self._encode_url = httpx.URL(f"{address.url}/internal/encode")
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=256, max_keepalive_connections=64),
            verify=context,
            trust_env=False,  # a proxy of the environment knows no encoders
            transport=transport,
        )

    async def info(self) -> EncoderInfo:
        """Who it is.

        Raises:
            EncoderFailed: no answer, or none of the kind.
        """
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                return read_info(await self._call("GET", self._info_url))
        except TimeoutError as error:
            raise EncoderFailed("the encoder does not answer", "timeout") from error
        except (TypeError, ValueError) as error:
            raise EncoderFailed("the encoder gave a broken answer", "broken") from error

    async def encode(
        self, texts: Sequence[str], expected: EncoderInfo, origin: Origin, *, embeddings: bool
    ) -> tuple[str, EncodeResult | None]:
        """Encode distinct texts.

        Args:
            texts: what to encode.
            expected: the encoder that it should be.
            origin: for whom.
            embeddings: also give the float embeddings.

        Returns:
            The fingerprint that it answers with, and the codes if that is the expected one.

        Raises:
            Overloaded: it refuses more for now.
            DeadlineExceeded: it was not done in time.
            EncoderUnavailable: it will not have these texts.
            EncoderFailed: no answer, or a broken one.
        """
        body = orjson.dumps({"inputs": texts, "embeddings": embeddings})
        answer = await self._call(
            "POST", self._encode_url, content=body, headers=_headers_of(origin)
        )
        try:
            fingerprint = answer["encoder"]
            if not isinstance(fingerprint, str):
                raise TypeError("a fingerprint is a string")
            if fingerprint != expected.fingerprint:
                return fingerprint, None
            return fingerprint, _read_result(answer, len(texts), expected, embeddings)
        except (KeyError, TypeError, ValueError) as error:
            raise EncoderFailed("the encoder gave a broken answer", "broken") from error

    async def close(self) -> None:
        await self._client.aclose()

    async def _call(self, method: str, url: httpx.URL, **arguments: Any) -> dict[str, Any]:
        try:
            response = await self._client.request(
                method, url, extensions=self._extensions, **arguments
            )
        except httpx.HTTPError as error:
            raise _failure_of(error) from error
        if response.status_code == 429:
            raise Overloaded("the encoder is overloaded", retry_after=_retry_after(response))
        if response.status_code == 504:
            raise DeadlineExceeded("the encoder was not done in time")
        if response.status_code in OF_THE_REQUEST:
            raise EncoderUnavailable(f"the encoder answered {response.status_code}", retry_after=1)
        if response.status_code != 200:
            raise EncoderFailed(f"the encoder answered {response.status_code}", "status")
        try:
            answer = orjson.loads(response.content)
        except ValueError as error:
            raise EncoderFailed("the encoder gave a broken answer", "broken") from error
        if not isinstance(answer, dict):
            raise EncoderFailed("the encoder gave a broken answer", "broken")
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


def read_info(value: Any) -> EncoderInfo:
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


def _failure_of(error: httpx.HTTPError) -> EncoderFailed:
    message = f"the encoder is unreachable: {type(error).__name__}"
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return EncoderFailed(message, "unreachable", was_sent=False)
    if isinstance(error, httpx.TimeoutException):
        return EncoderFailed(message, "timeout")
    return EncoderFailed(message, "unreachable")


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
    for seconds in (timing.tokenization, timing.queue, timing.inference):
        if not isinstance(seconds, int | float):
            raise TypeError("times are numbers")
    return EncodeResult(codes, floats, int(answer["encoded"]), timing)


def _retry_after(response: httpx.Response) -> float:
    try:
        return float(response.headers.get("retry-after", "1"))
    except ValueError:
        return 1.0


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
