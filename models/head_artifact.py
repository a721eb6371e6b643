"""A head on disk: `manifest.json` and `weights.safetensors` in one immutable folder."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from models.artifact import ArtifactError, read_manifest, read_tensors, write_artifact
from models.head_runtime import Head, HeadKind, TaskKind, head_from_tensors

HEAD_FORMAT = "polyhead.head/1"
WEIGHTS = "weights.safetensors"
MAX_LABELS = 10_000


@dataclass(frozen=True, slots=True)
class HeadManifest:
    """What is known of a head besides its weights.

    Attributes:
        kind: of the task.
        head: `linear`, `mlp` or `prototype`.
        labels: output names, in column order; one name for a regression.
        bits: width of the codes it reads.
        encoders: fingerprints whose codes it may read, each with what was measured on it. The
            one that it was trained on is always there; the profiles of one encoder may share it.
        created_at: unix seconds.
        report: the evaluation report.
        card: for shipped heads: data, licence, size, intended use.
        thresholds: multi label: what the probability of each label must be above for it to be
            given; None: 0.5.
    """

    kind: TaskKind
    head: HeadKind
    labels: tuple[str, ...]
    bits: int
    encoders: dict[str, dict[str, Any]]
    created_at: float
    report: dict[str, Any] | None = None
    card: dict[str, Any] | None = None
    thresholds: tuple[float, ...] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        thresholds = None if self.thresholds is None else list(self.thresholds)
        return {
            "format": HEAD_FORMAT,
            **asdict(self),
            "labels": list(self.labels),
            "thresholds": thresholds,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> HeadManifest:
        """Read and check a manifest.

        Raises:
            ArtifactError: another format, or a field missing or of the wrong type.
        """
        if data.get("format") != HEAD_FORMAT:
            raise ArtifactError(f"expected format {HEAD_FORMAT}, found {data.get('format')!r}")
        try:
            if not isinstance(data["labels"], list) or not isinstance(data["encoders"], dict):
                raise TypeError("labels must be a list, encoders an object")
            manifest = cls(
                kind=_one_of(data["kind"], get_args(TaskKind), "kind"),
                head=_one_of(data["head"], get_args(HeadKind), "head"),
                labels=tuple(data["labels"]),
                bits=data["bits"],
                encoders=dict(data["encoders"]),
                created_at=float(data["created_at"]),
                report=data.get("report"),
                card=data.get("card"),
                thresholds=_thresholds(data.get("thresholds")),
                extra=dict(data.get("extra") or {}),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ArtifactError(f"bad head manifest: {error!r}") from error
        _check(manifest)
        return manifest


def save_head(folder: Path, manifest: HeadManifest, head: Head, *, half: bool = False) -> None:
    """Write a head into the existing, empty `folder`.

    Args:
        folder: where to.
        manifest: goes beside the weights.
        head: the weights.
        half: store 16-bit floats (shipped heads: half the size in every checkout).
    """
    dtype = np.float16 if half else np.float32
    tensors = {name: value.astype(dtype) for name, value in head.tensors().items()}
    write_artifact(folder, manifest.to_json(), tensors, WEIGHTS)


def load_head(folder: Path) -> tuple[HeadManifest, Head]:
    """Read a head and check that manifest and weights belong together.

    Raises:
        ArtifactError: anything missing, damaged or not matching.
    """
    manifest = HeadManifest.from_json(read_manifest(folder))
    tensors = read_tensors(folder / WEIGHTS)
    head = head_from_tensors(tensors, manifest.bits, len(manifest.labels))
    return manifest, head


def _one_of(value: Any, allowed: tuple[str, ...], name: str) -> Any:
    if value not in allowed:
        raise ValueError(f"{name} {value!r} is none of {', '.join(allowed)}")
    return cast(Any, value)


def _thresholds(value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(type(one) in (int, float) for one in value):
        raise TypeError("thresholds must be a list of numbers")
    return tuple(float(one) for one in value)


def _check(manifest: HeadManifest) -> None:
    labels = manifest.labels
    if not all(isinstance(label, str) for label in labels):
        raise ArtifactError("labels must be strings")
    if not labels or len(labels) > MAX_LABELS or len(set(labels)) != len(labels):
        raise ArtifactError(f"a head needs 1 to {MAX_LABELS} distinct labels, not {len(labels)}")
    if not isinstance(manifest.bits, int) or manifest.bits <= 0 or manifest.bits % 8:
        raise ArtifactError(f"bits must be a positive multiple of 8, not {manifest.bits!r}")
    if manifest.thresholds is not None and (
        manifest.kind != "multi_label"
        or len(manifest.thresholds) != len(labels)
        or not all(0.0 <= one <= 1.0 for one in manifest.thresholds)
    ):
        raise ArtifactError("thresholds are for multi label: one a label, 0 to 1")
    if not math.isfinite(manifest.created_at):
        raise ArtifactError("created_at must be a finite number")
    if not all(isinstance(value, dict | None) for value in (manifest.report, manifest.card)):
        raise ArtifactError("report and card must be objects")
    if not all(isinstance(value, dict) for value in manifest.encoders.values()):
        raise ArtifactError("encoders must map fingerprints to objects")
