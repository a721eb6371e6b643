"""Folders on local disks and object stores, by pyarrow's file systems.

A file is written under another name and moved into its place: on a disk by renaming, on an object
store by its own copy. What is there under its name is whole.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from bulk.plan import Refused

PARTIAL = "_partial"


class Folder:
    """A folder, or a single file's parent.

    Args:
        url: a path, or a URL of a file system that pyarrow or fsspec knows.

    Raises:
        Refused: no such file system.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._files, root = _open(url)
        self._root = root.rstrip("/") or "/"

    def is_file(self, name: str = "") -> bool:
        return bool(self._files.get_file_info(self.path(name)).type == fs.FileType.File)

    def parent(self) -> tuple[Folder, str]:
        """The folder of the file that this is, and the file's name in it."""
        folder = Folder.__new__(Folder)
        folder.url, folder._files = self.url, self._files
        above, _, name = self._root.rpartition("/")
        folder._root = above or "/"
        return folder, name

    def path(self, name: str) -> str:
        if not name:
            return self._root
        return f"{self._root.rstrip('/')}/{name}"

    def sizes(self, under: str = "", *, recursive: bool = False) -> dict[str, int]:
        """Files and their sizes, by their path in this folder. None where there is no folder."""
        selector = fs.FileSelector(self.path(under), allow_not_found=True, recursive=recursive)
        start = len(self._root.rstrip("/")) + 1
        return {
            info.path[start:]: info.size
            for info in self._files.get_file_info(selector)
            if info.type == fs.FileType.File
        }

    def open(self, name: str) -> Any:
        """A file to read from any place in it."""
        return self._files.open_input_file(self.path(name))

    def read(self, name: str) -> bytes:
        """All of a file.

        Raises:
            FileNotFoundError: it is not there.
        """
        with self._files.open_input_stream(self.path(name)) as file:
            return bytes(file.read())

    def write(self, name: str, data: bytes) -> None:
        """Put `data` in place of a file: readers see the old one, or this one whole."""
        target = self.path(name)
        local = isinstance(self._files, fs.LocalFileSystem)
        partial = self.path(f"{PARTIAL}/{name.rpartition('/')[2]}-{uuid.uuid4().hex}")
        for path in (partial, target):
            self._files.create_dir(path.rpartition("/")[0])
        with self._files.open_output_stream(partial) as file:
            file.write(data)
        if local:
            _to_disk(partial)
        self._files.move(partial, target)
        if local:
            _to_disk(target.rpartition("/")[0])

    def delete(self, name: str) -> None:
        if self.is_file(name):
            self._files.delete_file(self.path(name))

    def delete_folder(self, name: str) -> None:
        if self._files.get_file_info(self.path(name)).type == fs.FileType.Directory:
            self._files.delete_dir(self.path(name))


def _open(url: str) -> tuple[Any, str]:
    if "://" not in url:
        return fs.LocalFileSystem(), str(Path(url).absolute())
    try:
        known: tuple[Any, str] = fs.FileSystem.from_uri(url)
        return known
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError):
        pass  # fsspec knows more of them
    try:
        import fsspec

        opened, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        # Without the URL, which may hold a password.
        scheme = url.partition("://")[0]
        raise Refused(f"cannot open {scheme}:// ({type(error).__name__})") from None
    return fs.PyFileSystem(fs.FSSpecHandler(opened)), path


def _to_disk(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
