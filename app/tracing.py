"""OpenTelemetry traces: a span a request, and under it one a stage and the encoder process's own.

Only where `OTEL_EXPORTER_OTLP_ENDPOINT` is set; the service loads OpenTelemetry only then.
Its other variables work too: `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER` and so on.
Spans hold routes, statuses, request ids and times; no text, no key.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from starlette.types import Scope

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

EXTRA = "OTEL_EXPORTER_OTLP_ENDPOINT is set: it needs pip install 'polyhead-service[otel]'"


class TracingMissing(Exception):
    """Traces are asked for, and OpenTelemetry is not installed."""


class Tracing:
    """Sends spans to the collector that the environment names.

    Raises:
        TracingMissing: the extra `otel` is not installed.
    """

    def __init__(self, version: str, role: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise TracingMissing(EXTRA) from None
        name = os.environ.get("OTEL_SERVICE_NAME", "polyhead")
        attributes = {"service.name": name, "service.version": version, "polyhead.role": role}
        self._provider = TracerProvider(resource=Resource.create(attributes))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("polyhead", version)

    def start(self, scope: Scope, request_id: str) -> Trace:
        """The span of a request that has just come in."""
        return Trace(self._tracer, scope, request_id)

    def close(self) -> None:
        """Send what is left. Blocking, for some seconds at most."""
        self._provider.shutdown()


class Trace:
    """One request's span.

    Attributes:
        parent: the header `traceparent` of what this request asks of other processes.
    """

    __slots__ = ("_context", "_span", "_tracer", "parent")

    def __init__(self, tracer: Tracer, scope: Scope, request_id: str) -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        propagator = TraceContextTextMapPropagator()
        known = (b"traceparent", b"tracestate")
        given = {k.decode(): v.decode("latin-1") for k, v in scope["headers"] if k in known}
        self._tracer = tracer
        self._span: Span = tracer.start_span(
            scope["method"],
            propagator.extract(given),
            SpanKind.SERVER,
            {"http.request.method": scope["method"], "polyhead.request_id": request_id},
        )
        self._context = set_span_in_context(self._span)
        sent: dict[str, str] = {}
        propagator.inject(sent, self._context)
        self.parent = sent.get("traceparent", "")

    def stage(self, name: str, seconds: float, before_s: float = 0.0) -> None:
        """Add a span for a stage that took `seconds` and ended `before_s` ago."""
        end = time.time_ns() - int(before_s * 1e9)
        span = self._tracer.start_span(name, self._context, start_time=end - int(seconds * 1e9))
        span.end(end)

    def end(self, route: str, status: int, error: str | None) -> None:
        """The request is answered."""
        from opentelemetry.trace import Status, StatusCode

        self._span.update_name(route)
        self._span.set_attribute("http.route", route.partition(" ")[2])
        self._span.set_attribute("http.response.status_code", status)
        if error is not None:
            self._span.set_attribute("error.type", error)
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()
