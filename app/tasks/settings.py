"""A version's settings: checked, and measured on the rows that it held out. Pure."""

from __future__ import annotations

from app.errors import InvalidField
from app.schemas import SettingsRequest, VersionSettings
from models.decision import coverage_at, right_answers
from models.example_rows import TEST, ExampleRows
from models.head_artifact import HeadManifest
from models.head_runtime import MULTI_LABEL_THRESHOLD, Head, HeadStack


def changed_settings(
    manifest: HeadManifest, known: VersionSettings, request: SettingsRequest
) -> VersionSettings:
    """The settings after a request, not measured yet.

    Raises:
        InvalidField: a setting that this kind of task does not have, or an unknown label.
    """
    given = request.model_fields_set
    if request.min_confidence is not None and manifest.kind != "single_label":
        raise InvalidField(
            f"min_confidence is for single_label tasks, this one is {manifest.kind}",
            param="min_confidence",
        )
    if request.thresholds is not None:
        if manifest.kind != "multi_label":
            raise InvalidField(
                f"thresholds are for multi_label tasks, this one is {manifest.kind}",
                param="thresholds",
            )
        for label in request.thresholds:
            if label not in manifest.labels:
                raise InvalidField(
                    f"thresholds: {label[:80]!r} is not one of the {len(manifest.labels)} labels",
                    param="thresholds",
                    code="unknown_label",
                )
    return VersionSettings(
        min_confidence=request.min_confidence
        if "min_confidence" in given
        else known.min_confidence,
        thresholds=request.thresholds if "thresholds" in given else known.thresholds,
    )


def thresholds_of(manifest: HeadManifest, settings: VersionSettings) -> tuple[float, ...] | None:
    """What each label's probability must be above, as set, else as trained; multi label alone."""
    if manifest.kind != "multi_label":
        return None
    trained = manifest.thresholds or (MULTI_LABEL_THRESHOLD,) * len(manifest.labels)
    chosen = settings.thresholds or {}
    return tuple(
        chosen.get(label, threshold)
        for label, threshold in zip(manifest.labels, trained, strict=True)
    )


def measured(
    manifest: HeadManifest, head: Head, rows: ExampleRows | None, settings: VersionSettings
) -> VersionSettings:
    """The settings with what they are worth on the version's held-out rows."""
    held = None if rows is None else rows.take(rows.side == TEST)
    if held is None or not len(held) or manifest.kind == "regression":
        return settings
    scores = HeadStack([head], [manifest.kind]).scores(held.codes)
    right = right_answers(scores, held.targets, manifest.kind, thresholds_of(manifest, settings))
    if manifest.kind == "multi_label":
        return settings.model_copy(update={"coverage": 1.0, "accuracy": float(right.mean())})
    figures = coverage_at(scores.max(axis=1), right, settings.min_confidence or 0.0)
    return settings.model_copy(
        update={"coverage": figures["coverage"], "accuracy": figures["accuracy"]}
    )
