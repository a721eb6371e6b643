"""Installing the heads that the service ships with, once each.

What was installed is marked by the digest of its files: a task that the user deleted stays deleted,
and a newer shipped head becomes a new version, activated unless the user's own is active.
"""

from __future__ import annotations

import fcntl
import json
import logging
from pathlib import Path

from app.errors import ApiError
from app.files import replace_file
from app.tasks.registry import Registry
from models.artifact import MANIFEST, ArtifactError, digest_file, digest_json
from models.head_artifact import WEIGHTS, load_head
from models.reference import REFERENCE, load_reference

logger = logging.getLogger(__name__)


def install_ready_heads(registry: Registry, shipped: Path, marks: Path) -> list[str]:
    """Copy shipped heads into the registry; returns the names newly installed.

    Args:
        registry: where to.
        shipped: a folder of head artifacts, one a task.
        marks: file that remembers what was installed.
    """
    marks.parent.mkdir(parents=True, exist_ok=True)
    with marks.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # api processes that share the folder start together
        return _install(registry, shipped, marks)


def _install(registry: Registry, shipped: Path, marks: Path) -> list[str]:
    registry.refresh()
    installed = _read_marks(marks)
    news = []
    whole = [p for p in shipped.iterdir() if all((p / f).is_file() for f in (MANIFEST, WEIGHTS))]
    for folder in sorted(whole):
        name = folder.name
        digest = _digest(folder)
        if installed.get(name) == digest:
            continue
        known = registry.snapshot.tasks.get(name)
        if known is not None and not known.ready_made:
            logger.warning("a task of your own is named %s: the shipped one stays out", name)
            continue
        if known is None and name in installed:
            installed[name] = digest  # the user deleted it; a newer one does not bring it back
            continue
        try:
            manifest, head = load_head(folder)
            reference = load_reference(folder, manifest.bits, len(manifest.labels))
            use = str((manifest.card or {}).get("use") or "") or None
            registry.create(name, manifest.kind, list(manifest.labels), use, ready_made=True)
        except (ArtifactError, ApiError) as error:
            logger.error("shipped head %s cannot be installed: %s", name, error)
            continue
        mine = known is not None and known.active is not None and _is_users(registry, name)
        version = registry.add_version(name, manifest, head, reference=reference)
        if not mine:
            registry.activate(name, version)
        installed[name] = digest
        news.append(name)
    replace_file(marks, json.dumps(installed, indent=1).encode())
    return news


def _digest(folder: Path) -> str:
    """Of all that is installed. A reference that came later makes the head a newer one."""
    files = [folder / file for file in (MANIFEST, WEIGHTS, REFERENCE)]
    return digest_json([digest_file(file) for file in files if file.is_file()])


def _read_marks(marks: Path) -> dict[str, str]:
    try:
        value = json.loads(marks.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        logger.error("%s is damaged: shipped heads are installed anew", marks.name)
        return {}
    return value


def _is_users(registry: Registry, name: str) -> bool:
    manifest = registry.snapshot.get(name).active_manifest
    # An imported one is the user's, even if it was exported from what was shipped.
    return manifest is not None and (manifest.card is None or "imported_at" in manifest.extra)
