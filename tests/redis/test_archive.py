"""Codes in files, written from and stored on a real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.cache import archive
from app.cache.archive import ArchiveError, export_codes, import_codes, read_manifest
from app.cache.keys import encode_value
from tests.conftest import ValkeyProcess
from tests.redis.codes import (
    FINGERPRINT,
    WIDTH,
    code_of,
    count_missing,
    fill,
    make_digests,
)
from tests.redis.conftest import MakeStore

LAYOUTS = ["string", "packed"]


async def export(store: Any, layout: str, folder: Path, part_codes: int = 400) -> archive.Manifest:
    manifests = export_codes(store, layout, FINGERPRINT, folder, part_codes)
    return [manifest async for manifest in manifests][-1]


async def imported(store: Any, folder: Path, first_part: int = 0) -> int:
    return [done async for done, _ in import_codes(store, folder, first_part)][-1]


@pytest.fixture
async def archived(make_store: MakeStore, tmp_path: Path) -> Path:
    """An archive of 1,000 codes in several files."""
    store = make_store("packed")
    await fill(store, make_digests(1000))
    await export(store, "packed", tmp_path / "archive")
    await store.delete_all(FINGERPRINT)
    return tmp_path / "archive"


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_what_is_exported_is_imported(
    layout: str, make_store: MakeStore, tmp_path: Path
) -> None:
    store = make_store(layout)
    digests = make_digests(2500)
    await fill(store, digests)
    # What does not decode does not get into files.
    bad = make_digests(3, "bad ")
    other = encode_value("f" * 32, bad[1], code_of(bad[1]))
    await store.put(FINGERPRINT, {bad[0]: b"short", bad[1]: other, bad[2]: b""})
    manifest = await export(store, layout, tmp_path / "archive")
    assert manifest.complete
    assert manifest.codes == 2500
    assert len(manifest.parts) > 2

    # As any reader of Parquet sees it.
    table = pa.concat_tables(
        pq.read_table(tmp_path / "archive" / part.file) for part in manifest.parts
    )
    rows = {
        key: (code, tokens, truncated)
        for key, code, tokens, truncated in zip(
            *(table[name].to_pylist() for name in ("key", "code", "tokens", "truncated")),
            strict=True,
        )
    }
    assert rows == {digest: tuple(code_of(digest)) for digest in digests}
    assert table.schema.field("code").type == pa.binary(WIDTH)

    await store.delete_all(FINGERPRINT)
    assert await imported(store, tmp_path / "archive") == len(manifest.parts)
    assert await count_missing(store, digests) == 0
    assert await imported(store, tmp_path / "archive") == len(manifest.parts)  # no harm


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_an_export_that_was_cut_off_goes_on(
    layout: str, make_store: MakeStore, tmp_path: Path
) -> None:
    store, digests, folder = make_store(layout), make_digests(3000), tmp_path / "archive"
    await fill(store, digests)
    async for _ in export_codes(store, layout, FINGERPRINT, folder, 300):
        break
    (folder / ".part-00001.parquet").write_bytes(b"half of a file")
    before = {file: file.stat().st_mtime_ns for file in folder.glob("part-*")}
    assert len(before) == len(read_manifest(folder).parts) == 1
    with pytest.raises(ArchiveError, match="cut off"):
        await imported(store, folder)
    with pytest.raises(ArchiveError, match="holds an export of"):
        async for _ in export_codes(store, layout, "f" * 32, folder):
            pass
    manifest = await export(make_store(layout), layout, folder, 300)
    assert all(file.stat().st_mtime_ns == at for file, at in before.items())
    # Not one twice here: nothing was written, and the server is the same.
    assert manifest.codes == 3000
    with pytest.raises(ArchiveError, match="complete"):
        await export(store, layout, folder)
    await store.delete_all(FINGERPRINT)
    await imported(store, folder)
    assert await count_missing(store, digests) == 0


async def test_a_restart_in_the_middle_of_an_export_loses_nothing(
    make_store: MakeStore, valkey: ValkeyProcess, tmp_path: Path
) -> None:
    store, digests, folder = make_store("string"), make_digests(3000), tmp_path / "archive"
    await fill(store, digests)
    async for _ in export_codes(store, "string", FINGERPRINT, folder, 300):
        break
    valkey.kill()
    valkey.start()
    manifest = await export(store, "string", folder, 300)
    await store.delete_all(FINGERPRINT)
    await imported(store, folder)
    assert await count_missing(store, digests) == 0
    assert manifest.codes >= 3000


async def test_an_import_goes_on_from_a_part(make_store: MakeStore, archived: Path) -> None:
    store, manifest = make_store("string"), read_manifest(archived)
    assert len(manifest.parts) == 2
    assert await imported(store, archived, 1) == 2
    assert await count_missing(store, make_digests(1000)) == manifest.parts[0].codes


@pytest.mark.parametrize("damage", ["flip", "cut", "missing", "columns", "nulls", "garbage"])
async def test_a_damaged_archive_stores_nothing_of_the_damaged_file(
    damage: str, make_store: MakeStore, archived: Path
) -> None:
    manifest = json.loads((archived / "manifest.json").read_bytes())
    part = archived / manifest["parts"][0]["file"]
    data = bytearray(part.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        part.write_bytes(data)
    elif damage == "cut":
        part.write_bytes(data[:-1])
    elif damage == "missing":
        part.unlink()
    else:  # with a manifest that says so
        table = pq.read_table(part)
        if damage == "columns":
            pq.write_table(table.drop_columns(["tokens"]), part)
        elif damage == "nulls":
            nothing = pa.array([None] * len(table), pa.uint16())
            pq.write_table(table.set_column(2, "tokens", nothing), part)
        else:
            part.write_bytes(b"PAR1 nothing PAR1")
        manifest["parts"][0]["sha256"] = archive._sha256(part)
        (archived / "manifest.json").write_text(json.dumps(manifest))
    store = make_store("string")
    with pytest.raises(ArchiveError, match="part-00000"):
        await imported(store, archived)
    assert await count_missing(store, make_digests(1000)) == 1000


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "[]",
        "{}",
        '{"format": "polyhead-codes/2"}',
        '{"format": "polyhead-codes/1", "fingerprint": "xyz", "layout": "string", "parts": []}',
        '{"format": "polyhead-codes/1", "fingerprint": "00", "layout": "string", "parts": [1]}',
        '{"format": "polyhead-codes/1", "fingerprint": "00", "layout": "string", "code_bytes": "x",'
        ' "parts": []}',
        '{"format": "polyhead-codes/1", "fingerprint": "00", "layout": "string", "parts":'
        ' [{"file": "part", "codes": 1, "sha256": ""}]}',
        '{"format": "polyhead-codes/1", "fingerprint": "00", "layout": "string", "complete": true,'
        ' "parts": [{"file": "../secret", "codes": 1, "sha256": ""}]}',
    ],
)
def test_other_manifests_are_refused(manifest: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(ArchiveError):
        read_manifest(tmp_path)
