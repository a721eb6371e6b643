"""Prometheus metrics of one process. One object, made by the wiring, so that tests can make many.

A *pass* is one text going through the encoder. `passes_saved` counts what one model a task would
have cost beyond that: every prediction that needed no pass of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from app.encoding.protocol import EncoderState

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
SHARES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75)


class Tally:
    """A counter of the main path: a plain number, brought into its metric when figures are read.

    prometheus_client takes a lock an increment; a request has half a dozen. One thread alone may
    count.
    """

    __slots__ = ("_metric", "_pending")

    def __init__(self, metric: Counter) -> None:
        self._metric = metric
        self._pending: float = 0

    def inc(self, amount: float = 1) -> None:
        self._pending += amount

    def settle(self) -> None:
        pending, self._pending = self._pending, 0
        if pending:
            self._metric.inc(pending)

    @property
    def value(self) -> int:
        """All that was counted."""
        return int(self.total)

    @property
    def total(self) -> float:
        """The same of what is no whole number."""
        self.settle()
        return value_of(self._metric)


class Metrics:
    """All counters, gauges and histograms, by short names."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # Called before figures are read, for those that are kept elsewhere until then.
        self.before_exposition: list[Callable[[], None]] = []
        self.requests = self._counter(
            "polyhead_requests", "Requests by route and status.", ["route", "status"]
        )
        self.request_duration = self._histogram(
            "polyhead_request_duration_seconds", "From first byte in to last byte out.", ["route"]
        )
        self.cache_hits = self._tally("polyhead_cache_hits", "Texts found in the cache.")
        self.cache_misses = self._tally("polyhead_cache_misses", "Texts not in the cache.")
        self.cache_errors = self._counter(
            "polyhead_cache_errors", "Cache failures and bad values, each a miss.", ["reason"]
        )
        self.encoder_passes = self._counter(
            "polyhead_encoder_passes", "Texts that went through this process's encoder."
        )
        self.texts_encoded = self._tally(
            "polyhead_texts_encoded",
            "Texts that this process's requests had encoded, here or in an encoder process.",
        )
        self.encoder_batches = self._counter("polyhead_encoder_batches", "Forward passes run.")
        self.passes_saved = self._tally(
            "polyhead_passes_saved", "Predictions made without an encoder pass of their own."
        )
        self.predicted_texts = self._counter(
            "polyhead_predicted_texts", "Texts that tasks were asked about."
        )
        self.head_seconds = self._tally(
            "polyhead_head_seconds", "Time of this process that heads took, their wording included."
        )
        self.predictions = self._counter("polyhead_predictions", "Predictions by task.", ["task"])
        self.shadow_texts = self._counter(
            "polyhead_shadow_texts", "Texts answered by a shadow version too, by task.", ["task"]
        )
        self.shadow_disagreements = self._counter(
            "polyhead_shadow_disagreements",
            "Of those the ones that the shadow answers differently.",
            ["task"],
        )
        self.task_drift = self._gauge(
            "polyhead_task_drift",
            "Distance of this process's texts from the training rows; above 1 it is not chance.",
            ["task"],
        )
        self.task_drift_distance = self._gauge(
            "polyhead_task_drift_distance",
            "The same in standard deviations of the training rows, less the noise.",
            ["task"],
        )
        self.errors = self._counter("polyhead_errors", "Error answers by code.", ["reason"])
        self.unread = self._tally(
            "polyhead_refused_unread", "Requests refused unread because the event loop was late."
        )
        self.loop_lag = self._gauge(
            "polyhead_loop_lag_seconds", "How late the event loop was, when it was last looked at."
        )
        self.rate_refused = self._tally(
            "polyhead_rate_limited", "Texts refused by the rate limit of their client."
        )
        self.rate_failures = self._tally(
            "polyhead_rate_limit_failures",
            "Requests let through because they could not be counted.",
        )
        self.cache_duration = self._histogram(
            "polyhead_cache_duration_seconds", "Looking up the codes of one request."
        )
        self.queue_duration = self._histogram(
            "polyhead_queue_duration_seconds", "Wait of a text before its batch started."
        )
        self.tokenization_duration = self._histogram(
            "polyhead_tokenization_duration_seconds", "Tokenizing the misses of one request."
        )
        self.inference_duration = self._histogram(
            "polyhead_inference_duration_seconds", "One forward pass."
        )
        self.batch_tokens = self._histogram(
            "polyhead_batch_tokens", "Tokens of a batch, padding included.", buckets=TOKENS
        )
        self.batch_texts = self._histogram(
            "polyhead_batch_texts", "Texts (or windows of long ones) of a batch.", buckets=TEXTS
        )
        self.encoded_tokens = self._counter(
            "polyhead_encoded_tokens", "Tokens of texts that went through the encoder."
        )
        self.padding_tokens = self._counter(
            "polyhead_padding_tokens", "Padding that went through the encoder."
        )
        self.padding_share = self._histogram(
            "polyhead_padding_share", "Share of a batch that is padding.", buckets=SHARES
        )
        self.encoder_up = self._gauge(
            "polyhead_encoder_up",
            "Whether an encoder process (host:port) is asked by this one.",
            ["encoder"],
        )
        self.encoder_outstanding = self._gauge(
            "polyhead_encoder_outstanding_tokens",
            "Tokens (estimated) that an encoder process was sent and has not answered.",
            ["encoder"],
        )
        self.encoder_ejections = self._counter(
            "polyhead_encoder_ejections",
            "Times that an encoder process was no longer asked, by reason.",
            ["encoder", "reason"],
        )
        self.encoder_retries = self._counter(
            "polyhead_encoder_retries",
            "Parts of requests that went to another encoder process, by what the first one did.",
            ["reason"],
        )
        self.queued_texts = self._gauge("polyhead_queued_texts", "Texts admitted, not answered.")
        self.queue_limit = self._gauge(
            "polyhead_queued_texts_limit", "Texts that may be admitted at once; 0: no encoder here."
        )
        self.queued_tokens = self._gauge("polyhead_queued_tokens", "Tokens waiting for a batch.")

    def exposition(self) -> bytes:
        """The text that `/metrics` answers with."""
        self.settle()
        return generate_latest(self.registry)

    def show_encoders(self, states: Iterable[EncoderState]) -> None:
        """Set the gauges of encoder processes; those that are no more have none."""
        self.encoder_up.clear()
        self.encoder_outstanding.clear()
        for one in states:
            self.encoder_up.labels(one.label).set(one.state == "up")
            self.encoder_outstanding.labels(one.label).set(one.outstanding)

    def forget_encoder(self, label: str) -> None:
        """An encoder process is no more: its figures would stay for ever."""
        self.encoder_ejections.remove_by_labels({"encoder": label})

    def settle(self) -> None:
        """Bring in what is counted elsewhere."""
        for bring in self.before_exposition:
            bring()

    def _counter(self, name: str, text: str, labels: list[str] | None = None) -> Counter:
        return Counter(name, text, labels or [], registry=self.registry)

    def tally(self, metric: Counter) -> Tally:
        """A `Tally` for a metric (or one of its labelled children)."""
        tally = Tally(metric)
        self.before_exposition.append(tally.settle)
        return tally

    def _tally(self, name: str, text: str) -> Tally:
        return self.tally(self._counter(name, text))

    def _gauge(self, name: str, text: str, labels: list[str] | None = None) -> Gauge:
        return Gauge(name, text, labels or [], registry=self.registry)

    def _histogram(
        self,
        name: str,
        text: str,
        labels: list[str] | None = None,
        buckets: tuple[float, ...] = SECONDS,
    ) -> Histogram:
        return Histogram(name, text, labels or [], registry=self.registry, buckets=buckets)


def value_of(metric: Counter | Gauge) -> float:
    """The current sum of a metric over its labels (for /v1/stats)."""
    return sum(
        sample.value
        for family in metric.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    )
