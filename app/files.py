"""Replacing a small file in one step: readers see the old one or the new one, never a part."""

from __future__ import annotations

import uuid
from pathlib import Path

from models.artifact import sync_folder, write_durably


def replace_file(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Put `data` in place of `path`. `durable`: survive a power cut as well."""
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    if durable:
        write_durably(temporary, data)
    else:
        temporary.write_bytes(data)
    temporary.replace(path)
    if durable:
        sync_folder(path.parent)
