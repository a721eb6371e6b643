"""Tasks and versions as the wire shows them. Pure."""

from __future__ import annotations

from typing import Any

from app.schemas import Task, Version, VersionSummary
from app.tasks.state import TaskState
from models.head_artifact import HeadManifest


def describe_task(state: TaskState) -> Task:
    """A task with a line for each version."""
    manifest = state.active_manifest
    return Task(
        name=state.name,
        kind=state.kind,
        labels=list(state.labels),
        description=state.description,
        ready_made=state.ready_made,
        active_version=state.active,
        shadow_version=state.shadow,
        created_at=state.created_at,
        versions=[
            _summary(number, version, number == state.active)
            for number, version in sorted(state.versions.items())
        ],
        card=manifest.card if manifest else None,
    )


def describe_version(state: TaskState, number: int) -> Version:
    """One version with its report.

    Raises:
        NotFound: the task has no such version.
    """
    manifest = state.version(number)
    return Version(
        task=state.name,
        version=number,
        kind=manifest.kind,
        head=manifest.head,
        encoder=_trained_on(manifest),
        encoders=manifest.encoders,
        labels=list(manifest.labels),
        created_at=manifest.created_at,
        active=number == state.active,
        settings=state.settings_of(number),
        report=manifest.report,
    )


def _summary(number: int, manifest: HeadManifest, active: bool) -> VersionSummary:
    report = manifest.report or {}
    return VersionSummary(
        version=number,
        head=manifest.head,
        encoder=_trained_on(manifest),
        created_at=manifest.created_at,
        active=active,
        accuracy=_figure(report, "accuracy"),
        macro_f1=_figure(report, "macro_f1"),
    )


def _figure(report: dict[str, Any], name: str) -> float | None:
    """A figure of a report. An imported one may hold anything: that must not spoil the list."""
    value = report.get(name)
    return value if isinstance(value, float) else None


def _trained_on(manifest: HeadManifest) -> str:
    return next(iter(manifest.encoders), "")
