"""Texts to codes: look up, encode what is missing. Shared by every route that reads codes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from app.cache.code_cache import CodeCache
from app.cache.keys import StoredCode, digest_texts
from app.call import Call
from app.encoding.protocol import EncoderChanged, EncodeResult, TextEncoder
from app.errors import BadRequest, EncoderUnavailable, InvalidField, NotFound, TooLarge
from app.metrics import Metrics
from models.encoder import EncoderInfo

ATTEMPTS = 3
_tokens_of = attrgetter("tokens")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may hold."""

    max_inputs: int
    max_text_bytes: int


@dataclass(frozen=True, slots=True)
class Looked:
    """Codes of one request, in the order of its texts (or keys).

    `cached[i]` says whether text i was found; `encoded` counts the passes made for the rest.
    """

    info: EncoderInfo
    digests: list[bytes]
    codes: list[StoredCode]
    cached: list[bool]
    encoded: int
    embeddings: list[NDArray[np.float32]] | None = None

    def usage(self) -> dict[str, int]:
        """The wire's `usage` (see `app.schemas.Usage`)."""
        tokens = sum(map(_tokens_of, self.codes))
        return {
            "prompt_tokens": tokens,
            "total_tokens": tokens,
            "inputs": len(self.codes),
            "cached": sum(self.cached),
            "encoded": self.encoded,
        }


Attempt = Callable[[EncoderInfo, list[str], Call], Awaitable[Looked]]


class Lookup:
    """Finds or makes the codes of texts."""

    def __init__(
        self, cache: CodeCache, encoder: TextEncoder, metrics: Metrics, limits: Limits
    ) -> None:
        self._cache = cache
        self._encoder = encoder
        self._metrics = metrics
        self._limits = limits

    async def info(self) -> EncoderInfo:
        """The encoder as it is now."""
        return await self._encoder.info()

    async def texts(
        self,
        inputs: str | list[str],
        call: Call,
        *,
        truncate: bool = True,
        name: str = "inputs",
    ) -> Looked:
        """Codes of texts. `name` is the field that errors name.

        Raises:
            BadRequest, TooLarge, InvalidField: of the inputs.
            EncoderUnavailable, Overloaded: some texts are not cached and cannot be encoded now.
        """
        texts = check_texts(inputs, self._limits, name)
        looked = await self._current(texts, call, self._find_or_encode)
        if not truncate:
            _refuse_truncated(looked)
        return looked

    async def embeddings(
        self, inputs: str | list[str], call: Call, *, name: str = "inputs"
    ) -> Looked:
        """Codes and float embeddings. Floats are not cached: every distinct text is a pass."""
        texts = check_texts(inputs, self._limits, name)
        return await self._current(texts, call, self._encode_all)

    async def keys(self, keys: list[str], call: Call) -> Looked:
        """Stored codes by their public keys.

        Raises:
            BadRequest: no keys, or too many.
            NotFound: some are not stored under the running encoder.
        """
        if not keys:
            raise BadRequest("keys is empty", param="keys", code="empty_input")
        if len(keys) > self._limits.max_inputs:
            raise InvalidField(_too_many("keys", len(keys), self._limits), param="keys")
        info = await self._encoder.info()
        digests = [bytes.fromhex(key) for key in keys]
        found = await self._find(info, digests, call)
        codes = [stored for stored in found if stored is not None]
        if len(codes) < len(found):
            place = found.index(None)
            missing = len(found) - len(codes)
            raise NotFound(
                f"{missing} of {len(found)} keys hold no code of encoder {info.fingerprint}; "
                f"the first is keys[{place}]",
                param=f"keys[{place}]",
                code="key_not_found",
            )
        return Looked(info, digests, codes, [True] * len(codes), 0)

    async def _current(self, texts: list[str], call: Call, attempt: Attempt) -> Looked:
        """Run an attempt under the encoder as it is now; anew if it turns out to have changed."""
        for _ in range(ATTEMPTS):
            info = await self._encoder.info()
            try:
                return await attempt(info, texts, call)
            except EncoderChanged:
                continue
        raise EncoderUnavailable("the encoder keeps changing", retry_after=2)

    async def _find(
        self, info: EncoderInfo, digests: list[bytes], call: Call
    ) -> list[StoredCode | None]:
        started = time.perf_counter()
        found = await self._cache.get_many(info.fingerprint, info.code_bytes, digests)
        seconds = time.perf_counter() - started
        call.add("cache", seconds)
        self._metrics.cache_duration.observe(seconds)
        return found

    async def _find_or_encode(self, info: EncoderInfo, texts: list[str], call: Call) -> Looked:
        digests = digest_texts(info.fingerprint, texts)
        found = await self._find(info, digests, call)
        cached = [stored is not None for stored in found]
        codes = [stored for stored in found if stored is not None]
        if len(codes) == len(found):
            return Looked(info, digests, codes, cached, 0)
        missing = {d: text for d, text, hit in zip(digests, texts, cached, strict=True) if not hit}
        result = await call.guarded(
            self._encoder.encode(list(missing.values()), list(missing), origin=call.origin)
        )
        self._note(result, call)
        made = dict(zip(missing, result.codes, strict=True))
        codes = [
            made[digest] if stored is None else stored
            for digest, stored in zip(digests, found, strict=True)
        ]
        return Looked(info, digests, codes, cached, result.encoded)

    async def _encode_all(self, info: EncoderInfo, texts: list[str], call: Call) -> Looked:
        digests = digest_texts(info.fingerprint, texts)
        distinct = dict(zip(digests, texts, strict=True))
        result = await call.guarded(
            self._encoder.encode(
                list(distinct.values()), list(distinct), embeddings=True, origin=call.origin
            )
        )
        self._note(result, call)
        assert result.embeddings is not None
        place = {digest: number for number, digest in enumerate(distinct)}
        return Looked(
            info,
            digests,
            [result.codes[place[digest]] for digest in digests],
            [False] * len(digests),
            result.encoded,
            [result.embeddings[place[digest]] for digest in digests],
        )

    def _note(self, result: EncodeResult, call: Call) -> None:
        self._metrics.texts_encoded.inc(result.encoded)
        timing = result.timing  # one after the other, up to now
        call.add("tokenization", timing.tokenization, timing.queue + timing.inference)
        call.add("queue", timing.queue, timing.inference)
        call.add("inference", timing.inference)


def check_texts(inputs: str | list[str], limits: Limits, name: str = "inputs") -> list[str]:
    """The texts of a request as a list.

    Raises:
        BadRequest: no texts, or an empty one.
        InvalidField: too many.
        TooLarge: a text is over the limit.
    """
    texts = [inputs] if isinstance(inputs, str) else inputs
    if not texts:
        raise BadRequest(f"{name} is empty", param=name, code="empty_input")
    if len(texts) > limits.max_inputs:
        raise InvalidField(_too_many(name, len(texts), limits), param=name)
    # All at once; who sent what cannot be used is told where.
    is_blank = "" in texts or any(map(str.isspace, texts))
    if not is_blank and max(map(len, texts)) * 4 <= limits.max_text_bytes:
        return texts
    for place, text in enumerate(texts):
        if not text or text.isspace():
            raise BadRequest(
                f"{name}[{place}] is empty", param=f"{name}[{place}]", code="empty_input"
            )
        # Four bytes a character at the most: only long texts are measured exactly.
        if len(text) * 4 > limits.max_text_bytes and len(text.encode()) > limits.max_text_bytes:
            raise TooLarge(
                f"{name}[{place}] is over {limits.max_text_bytes} bytes",
                param=f"{name}[{place}]",
                code="text_too_large",
            )
    return texts


def _too_many(name: str, count: int, limits: Limits) -> str:
    return f"{name}: {count} are over the limit of {limits.max_inputs} a request"


def _refuse_truncated(looked: Looked) -> None:
    for place, stored in enumerate(looked.codes):
        if stored.truncated:
            raise InvalidField(
                f"inputs[{place}] is over the limit of {looked.info.max_tokens} tokens "
                "and truncate is false",
                param=f"inputs[{place}]",
                code="text_too_long",
            )
