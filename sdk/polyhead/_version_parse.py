"""Decoded JSON to shadows, drift, learning curves, backfills and outdated heads. Pure."""

from __future__ import annotations

from ._drift_types import AnswerDrift, Drift, LabelShare
from ._errors import ProtocolError
from ._read import Fields, as_bool, as_float, as_int, as_map, as_text, list_of
from ._report_types import LearningCurve, LearningPoint
from ._version_types import Answer, Backfill, OutdatedHead, Shadow, ShadowExample, ShadowPair


def content(value: object) -> bytes:
    """An answer of bytes."""
    if not isinstance(value, bytes):
        raise ProtocolError("unexpected answer: not bytes")
    return value


def _answer(value: object, where: str) -> Answer:
    return as_text(value, where) if isinstance(value, str) else list_of(as_text)(value, where)


def _pair(value: object, where: str) -> ShadowPair:
    fields = Fields(value, where)
    return ShadowPair(
        active=fields.maybe("active", _answer),
        shadow=fields.maybe("shadow", _answer),
        count=fields.need("count", as_int),
    )


def _example(value: object, where: str) -> ShadowExample:
    fields = Fields(value, where)
    return ShadowExample(
        key=fields.need("key", as_text),
        active=fields.maybe("active", _answer),
        shadow=fields.maybe("shadow", _answer),
    )


def shadow(value: object) -> Shadow:
    """The answer of `GET /v1/tasks/{task}/shadow`."""
    fields = Fields(value, "answer")
    return Shadow(
        task=fields.need("task", as_text),
        version=fields.need("version", as_int),
        texts=fields.need("texts", as_int),
        active_version=fields.maybe("active_version", as_int),
        since=fields.maybe("since", as_float),
        dropped=fields.maybe("dropped", as_int) or 0,
        disagreements=fields.maybe("disagreements", as_int),
        rate=fields.maybe("rate", as_float),
        interval=fields.maybe("interval", list_of(as_float)),
        mean_difference=fields.maybe("mean_difference", as_float),
        mean_absolute_difference=fields.maybe("mean_absolute_difference", as_float),
        pairs=fields.maybe("pairs", list_of(_pair)) or (),
        examples=fields.maybe("examples", list_of(_example)) or (),
    )


def _label_share(value: object, where: str) -> LabelShare:
    fields = Fields(value, where)
    return LabelShare(
        label=fields.need("label", as_text),
        trained=fields.need("trained", as_float),
        live=fields.need("live", as_float),
    )


def _answer_drift(value: object, where: str) -> AnswerDrift:
    fields = Fields(value, where)
    return AnswerDrift(
        share=fields.need("share", as_float),
        by_chance=fields.need("by_chance", as_float),
        labels=fields.maybe("labels", list_of(_label_share)) or (),
    )


def _drift(value: object, where: str) -> Drift:
    fields = Fields(value, where)
    return Drift(
        task=fields.need("task", as_text),
        texts=fields.need("texts", as_int),
        version=fields.maybe("version", as_int),
        drift=fields.maybe("drift", as_float),
        distance=fields.maybe("distance", as_float),
        shifted=fields.maybe("shifted", as_bool),
        training_rows=fields.maybe("training_rows", as_int),
        since=fields.maybe("since", as_float),
        reason=fields.maybe("reason", as_text),
        answers=fields.maybe("answers", _answer_drift),
    )


def drift(value: object) -> Drift:
    """The answer of `GET /v1/tasks/{task}/drift`."""
    return _drift(value, "answer")


def drifts(value: object) -> list[Drift]:
    """The answer of `GET /v1/drift`."""
    return list(Fields(value, "answer").need("data", list_of(_drift)))


def _learning_point(value: object, where: str) -> LearningPoint:
    fields = Fields(value, where)
    return LearningPoint(
        rows=fields.need("rows", as_int),
        accuracy=fields.maybe("accuracy", as_float),
        interval=fields.maybe("interval", list_of(as_float)),
        mae=fields.maybe("mae", as_float),
    )


def learning_curve(value: object) -> LearningCurve:
    """The answer of `GET /v1/tasks/{task}/versions/{n}/learning-curve`."""
    fields = Fields(value, "answer")
    return LearningCurve(
        task=fields.need("task", as_text),
        version=fields.need("version", as_int),
        n_test=fields.need("n_test", as_int),
        data=fields.need("data", list_of(_learning_point)),
    )


def backfill(value: object) -> Backfill:
    """The last line of a backfill."""
    fields = Fields(value, "last line")
    if fields.maybe("object", as_text) != "backfill.done":
        raise ProtocolError("unexpected answer: the lines of the backfill are cut off")
    return Backfill(
        texts=fields.need("texts", as_int),
        encoder=fields.need("encoder", as_text),
        encoded=fields.maybe("encoded", as_int) or 0,
        seconds=fields.maybe("seconds", as_float),
    )


def backfill_table(value: object) -> Backfill:
    """The end of a backfill in Parquet: that it is there is all that it says."""
    content(value)
    return Backfill()


def _outdated(value: object, where: str) -> OutdatedHead:
    fields = Fields(value, where)
    return OutdatedHead(
        task=fields.need("task", as_text),
        version=fields.need("version", as_int),
        kind=fields.need("kind", as_text),
        encoder=fields.need("encoder", as_text),
        ready_made=fields.maybe("ready_made", as_bool) or False,
        options=fields.maybe("options", as_map) or {},
    )


def outdated(value: object) -> list[OutdatedHead]:
    """The answer of `GET /v1/retraining`."""
    return list(Fields(value, "answer").need("data", list_of(_outdated)))
