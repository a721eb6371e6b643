"""Codes in files: for those who store now and ask later, elsewhere or without this service.

An archive is a folder of Parquet files with the columns `key` (16 bytes), `code` (all of one
width), `tokens` and `truncated`, and a manifest that names the encoder, each file's codes and
SHA-256, and where the export is. Files are written whole before the manifest names them, so that an
export that was cut off goes on after the last of them. A code can be in it twice, never wrong.

pyarrow is the extra `archive`; the service does not need it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from app.cache.keys import (
    DIGEST_BYTES,
    MAX_TOKENS,
    VALUE_OVERHEAD,
    StoredCode,
    decode_values,
    encode_value,
)
from app.cache.server import raise_first
from app.cache.store import CodeStore
from app.files import replace_file

FORMAT = "polyhead-codes/1"
MANIFEST = "manifest.json"
PART_CODES = 100_000
BATCH = 1024


class ArchiveError(Exception):
    """An archive that cannot be used, and why."""


@dataclass(frozen=True)
class Part:
    """One file."""

    file: str
    codes: int
    sha256: str


@dataclass
class Manifest:
    """What an archive holds. `position` is the store's, in the layout `layout`."""

    fingerprint: str
    layout: str
    code_bytes: int = 0
    position: str = ""
    complete: bool = False
    parts: list[Part] = field(default_factory=list)

    @property
    def codes(self) -> int:
        return sum(part.codes for part in self.parts)


async def export_codes(
    store: CodeStore,
    layout: str,
    fingerprint: str,
    folder: Path,
    part_codes: int = PART_CODES,
) -> AsyncIterator[Manifest]:
    """Write all codes of an encoder, or what is left to write. Yields after each file.

    Args:
        store: to read.
        layout: its name; a position means something in one layout alone.
        fingerprint: of the encoder, whole.
        folder: made if missing.
        part_codes: codes a file, at least (but for the last).

    Raises:
        ArchiveError: what is in the folder cannot be gone on with.
    """
    manifest = _begin(folder, fingerprint, layout)
    rows: dict[bytes, StoredCode] = {}
    async for page in store.scan(fingerprint, manifest.position):
        rows |= _decoded(fingerprint, manifest, page.values)
        if len(rows) >= part_codes:
            _add_part(folder, manifest, rows, page.position)
            rows = {}
            yield manifest
    manifest.complete = True
    if rows:
        _add_part(folder, manifest, rows, manifest.position)
    else:
        _write_manifest(folder, manifest)
    yield manifest


async def import_codes(
    store: CodeStore, folder: Path, first_part: int = 0
) -> AsyncIterator[tuple[int, Manifest]]:
    """Store the codes of an archive. Yields the number of files done, after each.

    Every file is checked against the manifest before any of its codes is stored. Storing a code
    twice is no harm: an import that was cut off may be done again, or from `first_part` on.

    Raises:
        ArchiveError: the archive is not whole.
        ServerError: the server is not there, or takes no codes.
    """
    manifest = read_manifest(folder)
    if not manifest.complete:
        raise ArchiveError("its export was cut off: finish that first")
    for number, part in enumerate(manifest.parts[first_part:], start=first_part):
        _check_part(folder, part)
        for codes in _read_part(folder / part.file, manifest.code_bytes):
            values = {
                digest: encode_value(manifest.fingerprint, digest, stored)
                for digest, stored in codes.items()
            }
            raise_first(await store.put(manifest.fingerprint, values))
        yield number + 1, manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an archive.

    Raises:
        ArchiveError: there is none, or it is not one.
    """
    try:
        held = json.loads((folder / MANIFEST).read_bytes())
        if held.pop("format") != FORMAT:
            raise ValueError
        manifest = TypeAdapter(Manifest).validate_python(held, strict=False)
        bytes.fromhex(manifest.fingerprint)
        if manifest.code_bytes < (1 if manifest.parts else 0):
            raise ValueError
    except FileNotFoundError:
        raise ArchiveError(f"{folder} has no {MANIFEST}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ArchiveError(f"{folder / MANIFEST} is not a manifest of {FORMAT}") from None
    if any(Path(part.file).name != part.file for part in manifest.parts):
        raise ArchiveError(f"{folder / MANIFEST} names files outside of its folder")
    return manifest


def _begin(folder: Path, fingerprint: str, layout: str) -> Manifest:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / MANIFEST).exists():
        return Manifest(fingerprint, layout)
    manifest = read_manifest(folder)
    if manifest.complete:
        raise ArchiveError(f"{folder} holds a complete export")
    if (manifest.fingerprint, manifest.layout) != (fingerprint, layout):
        raise ArchiveError(
            f"{folder} holds an export of {manifest.fingerprint} from the layout {manifest.layout}"
        )
    for part in manifest.parts:
        _check_part(folder, part)
    return manifest


def _decoded(
    fingerprint: str, manifest: Manifest, values: dict[bytes, bytes]
) -> dict[bytes, StoredCode]:
    """The codes among values; what does not decode is left out, as it would be by the cache."""
    if not manifest.code_bytes:
        widths = {len(value) - VALUE_OVERHEAD for value in values.values()}
        for width in sorted(width for width in widths if width > 0):
            if any(decode_values(fingerprint, width, values.items())):
                manifest.code_bytes = width
                break
    codes = decode_values(fingerprint, manifest.code_bytes, values.items())
    return {digest: code for digest, code in zip(values, codes, strict=True) if code is not None}


def _add_part(
    folder: Path, manifest: Manifest, rows: dict[bytes, StoredCode], position: str
) -> None:
    file = f"part-{len(manifest.parts):05d}.parquet"
    temporary = folder / f".{file}"
    _write_part(temporary, rows, manifest)
    digest = _sha256(temporary)
    os.replace(temporary, folder / file)
    manifest.parts.append(Part(file, len(rows), digest))
    manifest.position = position
    _write_manifest(folder, manifest)


def _write_part(path: Path, rows: dict[bytes, StoredCode], manifest: Manifest) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    codes, tokens, truncated = zip(*rows.values(), strict=True)
    table = pa.table(
        {
            "key": pa.array(rows, pa.binary(DIGEST_BYTES)),
            "code": pa.array(codes, pa.binary(manifest.code_bytes)),
            "tokens": pa.array(tokens, pa.uint16()),
            "truncated": pa.array(truncated, pa.bool_()),
        },
        metadata={"format": FORMAT, "fingerprint": manifest.fingerprint},
    )
    # Keys and codes are as good as random: neither dictionaries nor compression find anything.
    pq.write_table(table, path, compression="none", use_dictionary=False)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _read_part(path: Path, code_bytes: int) -> Iterator[dict[bytes, StoredCode]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    expected = {
        "key": pa.binary(DIGEST_BYTES),
        "code": pa.binary(code_bytes),
        "tokens": pa.uint16(),
        "truncated": pa.bool_(),
    }
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            if {name: schema.field(name).type for name in schema.names} != expected:
                raise ArchiveError(f"{path} has other columns than {', '.join(expected)}")
            for batch in file.iter_batches(BATCH, columns=list(expected)):
                columns = [batch.column(name).to_pylist() for name in expected]
                if any(None in column for column in columns):
                    raise ArchiveError(f"{path} has empty fields")
                yield {
                    key: StoredCode(code, min(tokens, MAX_TOKENS), truncated)
                    for key, code, tokens, truncated in zip(*columns, strict=True)
                }
    except (pa.ArrowException, OSError) as error:  # OSError: for headers that are none
        raise ArchiveError(f"{path} is not a Parquet file: {error}") from error


def _check_part(folder: Path, part: Part) -> None:
    try:
        digest = _sha256(folder / part.file)
    except FileNotFoundError:
        raise ArchiveError(f"{folder / part.file} is missing") from None
    if digest != part.sha256:
        raise ArchiveError(f"{folder / part.file} is not what was written: its SHA-256 differs")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    content: dict[str, Any] = {"format": FORMAT, **asdict(manifest)}
    replace_file(folder / MANIFEST, json.dumps(content, indent=1).encode(), durable=True)
