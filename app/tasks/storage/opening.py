"""Opens the storage that the settings name."""

from __future__ import annotations

from pathlib import Path

from app.tasks.storage.folder import FolderStorage
from app.tasks.storage.port import Storage
from app.tasks.storage.url import parse_registry_url


def open_storage(url: str, data_dir: Path) -> Storage:
    """The registry's storage; fsspec is loaded only where it is needed.

    Args:
        url: as the settings have it; empty: in `data_dir`.
        data_dir: where a shared registry's copies lie.

    Raises:
        RegistryUnusable: it cannot be opened.
    """
    if not url:
        return FolderStorage(data_dir / "tasks")
    place = parse_registry_url(url)
    if place.scheme == "file":
        return FolderStorage(Path(place.path) / "tasks")
    from app.tasks.storage.shared import SharedStorage

    return SharedStorage(str(place), data_dir / "registry")
