"""What `/v1/stats` tells: one process's figures as JSON, for people and the console."""

from __future__ import annotations

from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from app.metrics import SECONDS, Metrics, value_of

# Routes whose durations are told: those that live traffic asks.
BUSY = ("POST /v1/predict", "POST /v1/encode", "POST /v1/embeddings")


def process_stats(metrics: Metrics, *, cache_up: bool, tasks: int) -> dict[str, Any]:
    """All figures of a process since it started.

    Args:
        metrics: of the process.
        cache_up: whether the cache answers.
        tasks: how many there are.
    """
    metrics.settle()
    hits, misses = metrics.cache_hits.value, metrics.cache_misses.value
    answers = int(value_of(metrics.predictions))
    saved = metrics.passes_saved.value
    return {
        "cache": {
            "up": cache_up,
            "hits": hits,
            "misses": misses,
            "hit_ratio": round(hits / (hits + misses), 6) if hits + misses else None,
            "errors": int(value_of(metrics.cache_errors)),
            "lookup_seconds": _sum(metrics.cache_duration),
        },
        "encoder": {
            "passes": metrics.texts_encoded.value,
            "passes_saved": saved,
            "queued_texts": int(value_of(metrics.queued_texts)),
            # Of this process's own encoder; 0 where that is another process.
            "own_passes": int(value_of(metrics.encoder_passes)),
            "own_seconds": _sum(metrics.inference_duration) + _sum(metrics.tokenization_duration),
        },
        "predictions": answers,
        "predict": {
            "texts": int(value_of(metrics.predicted_texts)),
            "answers": answers,
            "passes": answers - saved,
            "answers_by_task": _by_label(metrics.predictions, "task"),
            "head_seconds": metrics.head_seconds.total,
        },
        "requests": _requests(metrics),
        "tasks": tasks,
    }


def _requests(metrics: Metrics) -> dict[str, Any]:
    """Requests of the busy routes, how long they took (seconds, by upper bound), and errors."""
    counts = dict.fromkeys([*map(float, SECONDS), float("inf")], 0)
    for family in metrics.request_duration.collect():
        for sample in family.samples:
            if sample.name.endswith("_bucket") and sample.labels["route"] in BUSY:
                counts[float(sample.labels["le"])] += int(sample.value)
    return {
        "total": counts[float("inf")],
        "seconds": list(SECONDS),
        "within": [counts[float(bound)] for bound in SECONDS],
        "errors": _by_label(metrics.errors, "reason"),
    }


def _by_label(metric: Counter | Gauge, label: str) -> dict[str, int]:
    return {
        sample.labels[label]: int(sample.value)
        for family in metric.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def _sum(metric: Histogram) -> float:
    return sum(
        sample.value
        for family in metric.collect()
        for sample in family.samples
        if sample.name.endswith("_sum")
    )
