"""Tasks and versions as the wire shows them. Pure."""

from __future__ import annotations

from app.schemas import Task, Version, VersionSummary
from app.tasks.registry import TaskState
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
        accuracy=report.get("accuracy"),
        macro_f1=report.get("macro_f1"),
    )


def _trained_on(manifest: HeadManifest) -> str:
    return next(iter(manifest.encoders), "")
