"""What is known of encoders' identities, kept in a file between starts.

With it an api process that is started while no encoder can be reached still finds cached codes:
their keys are made with the fingerprint.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

import orjson

from app.encoding.remote import read_info
from app.files import replace_file
from models.encoder import EncoderInfo

logger = logging.getLogger(__name__)


class KnownEncoders:
    """Identities by fingerprint, and the one that codes are made with now.

    Args:
        memory: the file.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._infos: dict[str, EncoderInfo] = {}
        self.current = _recall(memory)

    def add(self, info: EncoderInfo) -> None:
        """An encoder said who it is."""
        self._infos[info.fingerprint] = info

    def use(self, fingerprint: str) -> None:
        """Codes are made with this one from now on, if it was ever heard."""
        info = self._infos.get(fingerprint)
        # What else is told of it (the device) may differ between encoders that make equal codes.
        if info is not None and (self.current is None or fingerprint != self.current.fingerprint):
            self.current = info
            _remember(self._memory, info)


def _recall(memory: Path) -> EncoderInfo | None:
    try:
        return read_info(orjson.loads(memory.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _remember(memory: Path, info: EncoderInfo) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        replace_file(memory, json.dumps(asdict(info)).encode())
    except OSError as error:
        logger.warning("cannot remember the encoder: %s", error.strerror)
