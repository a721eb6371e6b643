"""Files of versions in an object store, and their copies on the local disk.

An id is used once, so that a copy is never out of date; a copy whose digest is another one than the
index says is thrown away. Processes may share the folder of copies: each file is put in one step.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

from app.errors import StorageUnavailable
from app.files import replace_file
from app.tasks.storage.bucket import Bucket
from app.tasks.storage.index import FileName, VersionRecord, file_key
from app.tasks.storage.port import WriteFiles

logger = logging.getLogger(__name__)


class VersionFiles:
    """Copies under `root` of what lies in `bucket`."""

    def __init__(self, bucket: Bucket, root: Path) -> None:
        self._bucket = bucket
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def folder(self, record: VersionRecord) -> Path:
        """Where the copies of a version's files are, as far as they are here."""
        return self._root / record.id

    def store(self, write: WriteFiles) -> VersionRecord:
        """Upload the files that `write` puts into a folder. No index knows of them yet."""
        identifier = uuid.uuid4().hex
        temporary = self._root / f".new-{identifier}"
        temporary.mkdir()
        try:
            write(temporary)
            digests: dict[FileName, str] = {}
            record = VersionRecord(id=identifier, digests={})
            for name in get_args(FileName):
                path = temporary / name
                if path.exists():
                    data = path.read_bytes()
                    digests[name] = hashlib.sha256(data).hexdigest()
                    self._bucket.put(file_key(record, name), data)
            temporary.rename(self.folder(record))
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return record.model_copy(update={"digests": digests})

    def fetch(self, wanted: Sequence[tuple[VersionRecord, str]]) -> None:
        """Have copies of some files; what the store lacks or holds damaged stays away, logged.

        Raises:
            StorageUnavailable: something is not here yet and cannot be had.
        """
        missing: list[tuple[VersionRecord, FileName, str]] = []
        for record, file in wanted:
            for name, digest in record.digests.items():
                if name == file and not (self.folder(record) / name).exists():
                    missing.append((record, name, digest))
        found = self._bucket.read_many([file_key(record, name) for record, name, _ in missing])
        for (record, name, digest), data in zip(missing, found, strict=True):
            if data is None or hashlib.sha256(data).hexdigest() != digest:
                how = "missing" if data is None else "damaged"
                logger.error("%s of a version is %s in the registry's storage", name, how)
                continue
            self.folder(record).mkdir(exist_ok=True)
            replace_file(self.folder(record) / name, data)

    def remove(self, records: Iterable[VersionRecord]) -> None:
        """Remove files that no index names any more, as far as the store lets us."""
        for record in records:
            try:
                self._bucket.remove([file_key(record, name) for name in record.digests])
            except StorageUnavailable:
                logger.warning("files of a deleted version are left in the registry's storage")
            self.forget([record.id])

    def forget(self, identifiers: Iterable[str]) -> None:
        """Remove copies."""
        for identifier in identifiers:
            shutil.rmtree(self._root / identifier, ignore_errors=True)
