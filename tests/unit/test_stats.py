"""What /v1/stats tells."""

from __future__ import annotations

import orjson

from app.metrics import Metrics
from app.stats import process_stats


def test_a_process_that_has_done_nothing() -> None:
    stats = process_stats(Metrics(), cache_up=False, tasks=0)
    assert stats["cache"] == {
        "up": False,
        "hits": 0,
        "misses": 0,
        "hit_ratio": None,
        "errors": 0,
        "lookup_seconds": 0,
    }
    assert stats["predict"]["answers_by_task"] == {}
    assert stats["requests"]["total"] == 0
    orjson.dumps(stats)


def test_passes_are_what_predictions_did_not_save() -> None:
    metrics = Metrics()
    metrics.predictions.labels("a").inc(10)
    metrics.predictions.labels("b").inc(10)
    metrics.predicted_texts.inc(10)
    metrics.passes_saved.inc(16)
    metrics.head_seconds.inc(0.25)
    predict = process_stats(metrics, cache_up=True, tasks=2)["predict"]
    assert predict["answers_by_task"] == {"a": 10, "b": 10}
    assert (predict["texts"], predict["answers"], predict["passes"]) == (10, 20, 4)
    assert predict["head_seconds"] == 0.25


def test_the_encoder_s_time_is_its_passes_and_tokenizing() -> None:
    metrics = Metrics()
    metrics.encoder_passes.inc(4)
    metrics.inference_duration.observe(0.5)
    metrics.inference_duration.observe(0.25)
    metrics.tokenization_duration.observe(0.125)
    encoder = process_stats(metrics, cache_up=True, tasks=1)["encoder"]
    assert (encoder["own_passes"], encoder["own_seconds"]) == (4, 0.875)


def test_requests_are_those_of_live_traffic() -> None:
    metrics = Metrics()
    for route, seconds in [
        ("POST /v1/predict", 0.003),
        ("POST /v1/encode", 0.2),
        ("POST /v1/embeddings", 99.0),
        ("GET /v1/stats", 0.003),
        ("POST /v1/tasks/{task}/versions", 0.003),
    ]:
        metrics.request_duration.labels(route).observe(seconds)
    metrics.errors.labels("429").inc(3)
    requests = process_stats(metrics, cache_up=True, tasks=1)["requests"]
    assert requests["total"] == 3
    within = dict(zip(requests["seconds"], requests["within"], strict=True))
    assert (within[0.0025], within[0.005], within[0.25], within[30]) == (0, 1, 2, 2)
    assert requests["errors"] == {"429": 3}
