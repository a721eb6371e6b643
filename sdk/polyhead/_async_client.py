"""The async client: the sync one, awaited."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from . import _requests, _similar_requests
from ._async_resources import AsyncJobs, AsyncTasks
from ._calls import Call, Outcome, Plan, alive, build, next_delay, settle
from ._config import resolve
from ._fanout import run_tasks
from ._saving import SavingLines, SavingTable
from ._similar_types import Similar
from ._types import Codes, Embeddings, Model, Precision, Predictions

T = TypeVar("T")


class AsyncClient:
    """A client of one Polyhead service. It runs on asyncio.

    Many texts are cut into requests of at most `max_batch` texts and about 4 MB of text, sent at
    most `max_concurrency` at once; the results come back in order, as if it had been one request.

    Refusals (429, 503) and connection errors are tried again, with exponential back-off and full
    jitter, honouring `Retry-After` up to 30 seconds. No other status is, nor a time-out. What
    would differ when done twice (starting a training, deleting) is not sent again once it may
    have arrived.

    Attributes:
        tasks: The questions that the service answers.
        jobs: The trainings and evaluations.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float | None = 60.0,
        max_retries: int = 4,
        max_batch: int = 256,
        max_concurrency: int = 4,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            base_url: Of the service; None reads `POLYHEAD_URL`, then `http://127.0.0.1:8080`.
            api_key: Sent as a bearer token; None reads `POLYHEAD_API_KEY`, then sends none.
            timeout: Seconds without a sign of the service before giving up, or None for no limit.
                Connecting takes 10 seconds at most.
            max_retries: Attempts after the first; 0 never tries again.
            max_batch: Texts in one request.
            max_concurrency: Requests of one call in flight at once.
            transport: Replaces the network, as in tests.

        Raises:
            ValueError: An argument is out of range.
        """
        config = resolve(base_url, api_key, timeout, max_retries, max_batch, max_concurrency)
        self._config = config
        self._http = httpx.AsyncClient(transport=transport, **config.http_options())
        self._rng = random.Random()
        self.jobs = AsyncJobs(self._send)
        self.tasks = AsyncTasks(self._send, self._download, self.jobs)

    async def predict(
        self,
        inputs: str | Sequence[str] | None = None,
        tasks: Sequence[str] | None = None,
        *,
        keys: Sequence[str] | None = None,
        scores: bool = False,
        truncate: bool = True,
    ) -> Predictions:
        """Ask tasks about texts.

        Args:
            inputs: One text or several.
            tasks: Names of the tasks; None asks every task that has an active version.
            keys: In place of `inputs`: keys of earlier results, whose codes are stored.
            scores: Also give the probability of every label.
            truncate: Cut texts over the encoder's limit of tokens; False refuses them.

        Returns:
            One `Result` an input, in order.

        Raises:
            TypeError: An input is no str.
            ValueError: There are no inputs, or one holds a lone surrogate.
            NotFound: A task is unknown, or (code `key_not_found`) a key is not stored.
            InvalidField: A text is too long and `truncate` is false.
            PolyheadError: See the error tree.
        """
        size = self._config.max_batch
        return await self._run(_requests.predict(inputs, tasks, keys, scores, truncate, size))

    async def encode(self, inputs: str | Sequence[str]) -> Codes:
        """Turn texts into binary codes.

        Args:
            inputs: One text or several.

        Returns:
            One `Code` an input, in order, of `bits` bits each.

        Raises:
            TypeError: An input is no str.
            ValueError: There are no inputs, or one holds a lone surrogate.
            PolyheadError: See the error tree.
        """
        return await self._run(_requests.encode(inputs, self._config.max_batch))

    async def embed(
        self, inputs: str | Sequence[str], *, precision: Precision = "code"
    ) -> Embeddings:
        """Turn texts into vectors.

        Args:
            inputs: One text or several.
            precision: `"code"`: the bits as ±1/√bits, cacheable. `"full"`: the encoder's float
                vector, computed anew.

        Returns:
            One list of floats an input, in order, all of the same length.

        Raises:
            TypeError: An input is no str.
            ValueError: There are no inputs, or one holds a lone surrogate.
            PolyheadError: See the error tree.
        """
        return await self._run(_requests.embed(inputs, precision, self._config.max_batch))

    async def similar(
        self,
        inputs: str | Sequence[str] | None = None,
        *,
        keys: Sequence[str] | None = None,
        limit: int = 10,
        max_distance: int | None = None,
        tasks: Sequence[str] | None = None,
        task: str | None = None,
        version: int | None = None,
        max_age_s: float | None = None,
    ) -> Similar:
        """Stored codes, or the labelled rows of a version, that are nearest to some texts.

        Needs a key of scope `manage`: keys of texts that others sent are named.

        Args:
            inputs: One text or several.
            keys: In place of `inputs`: keys of earlier results, whose codes are stored.
            limit: Neighbours of each input, at most; up to 100.
            max_distance: Bits in which a neighbour may differ; None: any number.
            tasks: Also what the active heads of these tasks say of each neighbour.
            task: Search the rows that a version of this task was made from: they have labels.
            version: Of `task`; None: the active one.
            max_age_s: Wait until the codes were read no longer ago than this; None takes them as
                they are, at most about half a minute old.

        Returns:
            One `Neighbours` an input, in order.

        Raises:
            ValueError: There are no inputs, or `limit` is out of range.
            NotFound: A task or version is unknown, or a key is not stored.
            Conflict: The version reads another encoder's codes, or was stored without rows.
            Unavailable: The codes cannot be read, or (code `index_building`) are being read still.
        """
        plan = _similar_requests.similar(
            inputs,
            keys,
            limit=limit,
            max_distance=max_distance,
            tasks=tasks,
            task=task,
            version=version,
            max_age_s=max_age_s,
            max_batch=self._config.max_batch,
        )
        return await self._run(plan)

    async def models(self) -> list[Model]:
        """The encoders that the service offers."""
        return await self._send(_requests.models())

    async def info(self) -> Mapping[str, Any]:
        """What runs: versions, limits, the encoder. As the service gives it."""
        return await self._send(_requests.document("/info"))

    async def stats(self) -> Mapping[str, Any]:
        """What was done so far. As the service gives it."""
        return await self._send(_requests.document("/v1/stats"))

    async def health(self) -> bool:
        """Whether the service is alive. False when it cannot be reached; never tried again."""
        return alive(await self._attempt(self._http.build_request("GET", "/health")))

    async def ready(self) -> bool:
        """Whether it is ready for work. False when it cannot be reached; never tried again."""
        return alive(await self._attempt(self._http.build_request("GET", "/ready")))

    async def aclose(self) -> None:
        """Close the connections. The client cannot be used any more."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """The client itself; it is closed at the end of the block."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.aclose()

    def __repr__(self) -> str:
        """Without the key."""
        return f"AsyncClient({self._config.base_url!r})"

    async def _attempt(self, request: httpx.Request) -> Outcome:
        try:
            return await self._http.send(request)
        except httpx.RequestError as error:
            return error

    async def _send(self, call: Call[T]) -> T:
        """Send until the outcome is final."""
        request = build(self._http, call)
        attempt = 0
        while True:
            outcome = await self._attempt(request)
            delay = next_delay(call, outcome, attempt, self._config.max_retries, self._rng)
            if delay is None:
                return settle(call, outcome)
            await asyncio.sleep(delay)
            attempt += 1

    async def _download(self, call: Call[T], path: str | os.PathLike[str]) -> T:
        """Write a large answer to a file; never tried again."""
        request = build(self._http, call)
        try:
            response = await self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    await response.aread()
                    return settle(call, response)
                with (SavingTable if call.raw else SavingLines)(path) as file:
                    async for chunk in response.aiter_bytes():
                        file.write(chunk)
                    return call.read(file.last())
            finally:
                await response.aclose()
        except httpx.RequestError as error:
            return settle(call, error)

    async def _run(self, plan: Plan[T]) -> T:
        return plan.join(await run_tasks(self._send, plan.calls, self._config.max_concurrency))
