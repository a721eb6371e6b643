"""The URL and key that `polyhead login` stores, in a file that only its owner may read."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import typer

from .._config import DEFAULT_URL


@dataclass(frozen=True, slots=True)
class Login:
    """Where the service is, and the key for it."""

    url: str
    key: str | None = None


def path() -> Path:
    """Of the file: `login.json` in `~/.config/polyhead`, or where the system keeps such."""
    return Path(typer.get_app_dir("polyhead")) / "login.json"


def save(login: Login) -> Path:
    """Store it, with mode 0600 from the first byte on.

    Raises:
        OSError: The file cannot be written.
    """
    file = path()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = file.with_suffix(".part")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as out:
        json.dump({"url": login.url, "key": login.key}, out)
    partial.replace(file)
    return file


def load() -> Login | None:
    """What is stored, or None.

    Raises:
        ValueError: The file is damaged, or others may read it.
        OSError: It cannot be read.
    """
    file = path()
    try:
        if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise ValueError(f"others may read {file}, which holds a key: chmod 600 it")
        stored = json.loads(file.read_text(encoding="utf-8"))
        url, key = stored["url"], stored["key"]
        if not isinstance(url, str) or not isinstance(key, str | None):
            raise TypeError
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise ValueError(f"{file} is damaged: `polyhead login` again") from None
    return Login(url, key)


def forget() -> bool:
    """Delete what is stored; False when nothing is."""
    try:
        path().unlink()
    except FileNotFoundError:
        return False
    return True


def choose(url: str | None) -> Login:
    """What to use: `--url`, then the environment, then what is stored, then the default.

    The stored key goes to no other service than the one that it was stored for.

    Raises:
        ValueError: The stored file is damaged, or others may read it.
    """
    stored = load()
    url = url or os.environ.get("POLYHEAD_URL") or (stored.url if stored else DEFAULT_URL)
    key = os.environ.get("POLYHEAD_API_KEY")
    if key is None and stored is not None and stored.url.rstrip("/") == url.rstrip("/"):
        key = stored.key
    return Login(url, key)
