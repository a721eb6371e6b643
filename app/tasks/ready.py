"""Installing the heads that the service ships with, once each.

What was installed is marked by the digest of its files: a task that the user deleted stays deleted,
and a newer shipped head becomes a new version, activated unless the user's own is active.
"""

from __future__ import annotations

import logging
from pathlib import Path

from app.errors import ApiError, StorageUnavailable
from app.tasks.registry import Registry
from models.artifact import MANIFEST, ArtifactError, digest_file, digest_json
from models.head_artifact import WEIGHTS, load_head
from models.reference import REFERENCE, load_reference

logger = logging.getLogger(__name__)


def install_ready_heads(registry: Registry, shipped: Path) -> list[str]:
    """Copy shipped heads into the registry; returns the names newly installed.

    Args:
        registry: where to; it remembers what was installed.
        shipped: a folder of head artifacts, one a task.
    """
    with registry.installing():
        registry.refresh()
        whole = [
            p for p in shipped.iterdir() if all((p / f).is_file() for f in (MANIFEST, WEIGHTS))
        ]
        return [folder.name for folder in sorted(whole) if _install(registry, folder)]


def _install(registry: Registry, folder: Path) -> bool:
    name, digest = folder.name, _digest(folder)
    marks = registry.marks()
    if marks.get(name) == digest:
        return False
    known = registry.snapshot.tasks.get(name)
    if known is not None and not known.ready_made:
        logger.warning("a task of your own is named %s: the shipped one stays out", name)
        return False
    if known is None and name in marks:
        registry.mark(name, digest)  # the user deleted it; a newer one does not bring it back
        return False
    try:
        manifest, head = load_head(folder)
        reference = load_reference(folder, manifest.bits, len(manifest.labels))
        use = str((manifest.card or {}).get("use") or "") or None
        registry.create(name, manifest.kind, list(manifest.labels), use, ready_made=True)
        mine = known is not None and known.active is not None and _is_users(registry, name)
        version = registry.install(name, manifest, head, reference, digest, activate=not mine)
    except StorageUnavailable:
        raise
    except (ArtifactError, ApiError) as error:
        logger.error("shipped head %s cannot be installed: %s", name, error)
        return False
    return version is not None


def _digest(folder: Path) -> str:
    """Of all that is installed. A reference that came later makes the head a newer one."""
    files = [folder / file for file in (MANIFEST, WEIGHTS, REFERENCE)]
    return digest_json([digest_file(file) for file in files if file.is_file()])


def _is_users(registry: Registry, name: str) -> bool:
    manifest = registry.snapshot.get(name).active_manifest
    # An imported one is the user's, even if it was exported from what was shipped.
    return manifest is not None and (manifest.card is None or "imported_at" in manifest.extra)
