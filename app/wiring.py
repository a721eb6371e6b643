"""Builds the objects of each process.

The only importer of `models.loading`, and that only where an encoder runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from app.auth import Keys
from app.cache.address import connect
from app.cache.code_cache import CodeCache
from app.cache.front import FrontCache
from app.cache.invalidation import watch
from app.cache.layouts import open_store
from app.deps import ApiServices, EncoderServices
from app.encoding.addresses import parse_places
from app.encoding.batcher import Batcher, BatcherLimits
from app.encoding.encoders import RemoteEncoders
from app.encoding.protocol import TextEncoder
from app.errors import StorageUnavailable
from app.metrics import Metrics
from app.settings import Settings, parse_keys
from app.tasks.backfill import Backfills
from app.tasks.code_index import CodeIndex
from app.tasks.curves import LearningCurves
from app.tasks.drift import DriftWatch
from app.tasks.jobs import JobStore
from app.tasks.lookup import Limits, Lookup
from app.tasks.ready import install_ready_heads
from app.tasks.registry import Registry
from app.tasks.service import PredictionService
from app.tasks.shadow import ShadowTraffic
from app.tasks.similar import SimilarTexts
from app.tasks.storage.opening import open_storage
from app.tasks.storage.port import RegistryUnusable
from app.tasks.suspects import Suspicions
from app.tasks.trainer import Trainer

if TYPE_CHECKING:
    from app.rates import Rates
    from models.encoder import Encoder

logger = logging.getLogger(__name__)

DEVICE_NICE = 5  # of the threads that run the encoder

Services = TypeVar("Services")


@contextlib.asynccontextmanager
async def encoder_services(settings: Settings, metrics: Metrics) -> AsyncIterator[EncoderServices]:
    """An encoder process: device, batcher, cache to write to."""
    async with (
        _cache(settings, metrics) as cache,
        _local_encoder(settings, metrics, cache) as encoder,
    ):
        # No rates: the api that calls has asked for them.
        yield EncoderServices(settings, metrics, _keys(settings), cache, encoder, None)


@contextlib.asynccontextmanager
async def api_services(settings: Settings, metrics: Metrics) -> AsyncIterator[ApiServices]:
    """An api process: no torch, the encoders are elsewhere."""
    async with _cache(settings, metrics) as cache:
        encoder = RemoteEncoders(
            parse_places(settings.encoder_url),
            settings.encoder_key.get_secret_value(),
            settings.encoder_timeout_s,
            settings.data_dir / "encoder.json",
            metrics,
        )
        encoder.start()
        try:
            async with _api_parts(settings, metrics, cache, encoder) as services:
                yield services
        finally:
            await encoder.close()


@contextlib.asynccontextmanager
async def all_in_one_services(settings: Settings, metrics: Metrics) -> AsyncIterator[ApiServices]:
    """Everything in one process, with an embedded Valkey unless REDIS_URL names a server."""
    # The server comes up while the weights load.
    async with (
        _cache(settings, metrics, embedded=settings.redis_url is None) as cache,
        _local_encoder(settings, metrics, cache) as encoder,
        _api_parts(settings, metrics, cache, encoder) as services,
    ):
        yield services


@contextlib.asynccontextmanager
async def local_lookup(settings: Settings, metrics: Metrics) -> AsyncIterator[Lookup]:
    """Texts to codes without a service around it, for bulk work.

    Through this process's encoder, and the cache that REDIS_URL names, if it names one.
    """
    async with (
        _cache(settings, metrics) as cache,
        _local_encoder(settings, metrics, cache) as encoder,
    ):
        yield Lookup(cache, encoder, metrics, limits_of(settings))


def open_registry(settings: Settings) -> Registry:
    """The tasks that are stored, the shipped ones among them. Blocking.

    Raises:
        RegistryUnusable: the storage cannot be read.
    """
    try:
        registry = Registry(open_storage(settings.registry_url, settings.data_dir))
    except StorageUnavailable as error:
        raise RegistryUnusable(error.message) from None
    if settings.ready_heads is not None:
        try:
            names = install_ready_heads(registry, settings.ready_heads)
        except StorageUnavailable:
            logger.warning("ready tasks are not looked after: the registry cannot be changed now")
        else:
            if names:
                logger.info("installed ready tasks: %s", ", ".join(names))
    return registry


def limits_of(settings: Settings) -> Limits:
    """What one request may hold."""
    return Limits(settings.max_inputs, settings.max_text_kb * 1024)


@contextlib.asynccontextmanager
async def _api_parts(
    settings: Settings, metrics: Metrics, cache: CodeCache, encoder: TextEncoder
) -> AsyncIterator[ApiServices]:
    registry = await asyncio.to_thread(open_registry, settings)
    lookup = Lookup(cache, encoder, metrics, limits_of(settings))
    jobs = JobStore(settings.data_dir / "jobs")
    trainer = Trainer(
        registry,
        jobs,
        lookup,
        max_jobs=settings.max_jobs,
        max_examples=settings.max_examples,
    )
    shadows = ShadowTraffic(metrics)
    index = CodeIndex(cache, settings.similar_max_codes)
    drift = DriftWatch(registry, metrics)
    predictions = PredictionService(
        registry, lookup, encoder, metrics, shadows, drift, settings.max_tasks
    )
    watcher = asyncio.create_task(_follow(registry, settings.registry_poll_s))
    try:
        yield ApiServices(
            settings=settings,
            metrics=metrics,
            keys=_keys(settings),
            cache=cache,
            encoder=encoder,
            rates=_rates(settings, metrics),
            registry=registry,
            lookup=lookup,
            predictions=predictions,
            jobs=jobs,
            trainer=trainer,
            shadows=shadows,
            drift=drift,
            backfills=Backfills(cache, registry, predictions),
            curves=LearningCurves(registry, trainer),
            similar=SimilarTexts(cache, index, lookup, predictions, registry),
            suspicions=Suspicions(registry, trainer),
        )
    finally:
        watcher.cancel()
        await index.close()
        await shadows.close()
        await trainer.close()


async def _follow(registry: Registry, every_s: float) -> None:
    """Swap in what other processes change in the registry."""
    while True:
        await asyncio.sleep(every_s)
        try:
            await asyncio.to_thread(registry.refresh)
        except OSError as error:
            logger.error("cannot read the registry: %s", error.strerror)


@contextlib.asynccontextmanager
async def _cache(
    settings: Settings, metrics: Metrics, *, embedded: bool = False
) -> AsyncIterator[CodeCache]:
    front = FrontCache(int(settings.cache_front_mb * 1024 * 1024))
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    async with contextlib.AsyncExitStack() as stack:
        if embedded:
            from app.cache.embedded import EmbeddedValkey

            child = EmbeddedValkey(settings.data_dir / "valkey", settings.valkey_max_mb)
            stack.push_async_callback(child.stop)
            await child.start()
            url = child.url
        if url is None:
            yield CodeCache(None, front, metrics)
            return
        timeout_s = settings.cache_timeout_ms / 1000
        server = connect(url, timeout_s)
        store = open_store(
            server, settings.cache_layout, ttl_s=settings.cache_ttl_s, timeout_s=timeout_s
        )
        cache = CodeCache(store, front, metrics)
        stack.push_async_callback(cache.close)
        watcher = asyncio.create_task(watch(server, front.clear), name="cache-watcher")
        stack.callback(watcher.cancel)
        yield cache


@contextlib.asynccontextmanager
async def _local_encoder(
    settings: Settings, metrics: Metrics, cache: CodeCache
) -> AsyncIterator[Batcher]:
    started = time.perf_counter()
    # A thread of its own: OpenVINO's threads take their priority from the one that loads a model.
    with ThreadPoolExecutor(1, "load", initializer=step_back) as loading:
        encoder = await asyncio.get_running_loop().run_in_executor(loading, load_encoder, settings)
    info = encoder.info
    logger.info(
        "encoder %s (%s, %s) ready in %.1f s; fingerprint %s",
        info.name,
        info.device,
        info.profile,
        time.perf_counter() - started,
        info.fingerprint,
    )
    limits = BatcherLimits(settings.max_queued_texts, settings.max_queue_ms)
    rule = encoder.batching
    if settings.max_batch_tokens:
        rule = replace(rule, max_tokens=settings.max_batch_tokens)
    metrics.queue_limit.set(limits.max_queued_texts)
    batcher = Batcher(encoder, rule, cache, metrics, limits)
    try:
        yield batcher
    finally:
        await batcher.close()


def load_encoder(settings: Settings) -> Encoder:
    """Load and warm up the encoder on this process's device. Blocking."""
    from models.loading import load_encoder

    encoder = load_encoder(
        settings.encoder,
        backend=settings.backend,
        device=settings.device,
        dtype=settings.dtype,
        threads=settings.threads or available_cores(),
        max_tokens=settings.max_tokens,
        long_texts=settings.long_texts,
    )
    encoder.warm_up()
    return encoder


def step_back() -> None:
    """Let others go before the calling thread, and the threads that it starts.

    A pass keeps every core busy for milliseconds. The event loop, which needs microseconds, would
    wait for its turn after each of them; and so would a Valkey beside it.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), DEVICE_NICE)


def available_cores() -> int:
    """Cores that this process may use: its affinity, and its container's share."""
    cores = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


def _rates(settings: Settings, metrics: Metrics) -> Rates | None:
    if not settings.rate_limit:
        return None
    from app.rates import Rates, open_storage

    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    storage = open_storage(url, settings.cache_timeout_ms / 1000)
    return Rates(settings.rate_limit, storage, metrics)


def _keys(settings: Settings) -> Keys:
    return Keys(parse_keys(settings.api_keys.get_secret_value()))
