"""What `client.tasks` of the async client does with versions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from . import _similar_requests, _version_requests
from ._calls import Call
from ._drift_types import Drift
from ._report_types import LearningCurve
from ._similar_types import Suspects
from ._task_types import Comparison, TaskVersion
from ._version_requests import KEEP, Keep
from ._version_types import Backfill, OutdatedHead, Shadow

T = TypeVar("T")


class AsyncSend(Protocol):
    """Sends one request, trying again where that may help."""

    async def __call__(self, call: Call[T]) -> T:
        """The result, or a `PolyheadError`."""


class AsyncDownload(Protocol):
    """Writes a large answer to a file."""

    async def __call__(self, call: Call[T], path: str | os.PathLike[str]) -> T:
        """What its end says, or a `PolyheadError`."""


class AsyncTaskVersions:
    """The part of `client.tasks` that is about head versions."""

    def __init__(self, send: AsyncSend, download: AsyncDownload) -> None:
        """Made by the client."""
        self._send = send
        self._download = download

    async def version(self, name: str, version: int) -> TaskVersion:
        """One head version with its report.

        Raises:
            NotFound: There is no such task or version.
        """
        return await self._send(_version_requests.get_version(name, version))

    async def activate(self, name: str, version: int) -> TaskVersion:
        """Make a version the one that answers: a promotion, or a roll-back.

        Raises:
            NotFound: There is no such task or version.
            Conflict: Its files are damaged.
        """
        return await self._send(_version_requests.activate_version(name, version))

    async def configure(
        self,
        name: str,
        version: int,
        *,
        min_confidence: float | Keep | None = KEEP,
        thresholds: Mapping[str, float] | Keep | None = KEEP,
    ) -> TaskVersion:
        """Change how a version answers. What is not given stays as it is.

        Args:
            name: The task.
            version: The version.
            min_confidence: Single label: where an answer's score is under it, its label is None
                and `abstained` true; None always answers.
            thresholds: Multi label: what the probability of a label must be above; labels that are
                not named keep the trained ones, and all of them with None.

        Returns:
            The version: its `settings` say what they are worth on its held-out texts.

        Raises:
            ValueError: Nothing is given.
            NotFound: There is no such task or version.
            InvalidField: A setting that this kind of task does not have, or an unknown label.
        """
        call = _version_requests.configure_version(name, version, min_confidence, thresholds)
        return await self._send(call)

    async def compare(self, name: str, a: int, b: int) -> Comparison:
        """Two versions on the texts that one held out and neither was trained on.

        Args:
            name: The task.
            a: A version, such as the active one.
            b: Another, such as its successor.

        Raises:
            NotFound: There is no such task or version.
            Conflict: There are no such texts, or the versions read different encoders' codes.
        """
        return await self._send(_version_requests.compare_versions(name, a, b))

    async def learning_curve(self, name: str, version: int) -> LearningCurve:
        """How the score grew with the training rows: whether more would help.

        Heads are fitted on parts of the version's stored rows, which takes seconds the first time.

        Args:
            name: The task.
            version: The version.

        Raises:
            NotFound: There is no such task or version.
            Conflict: It was stored without its rows, or none were held out.
            Overloaded: Others wait for theirs.
        """
        return await self._send(_version_requests.learning_curve(name, version))

    async def delete_version(self, name: str, version: int) -> None:
        """Delete a head version and the rows that were stored with it.

        Raises:
            NotFound: There is no such task or version.
            Conflict: It is the active one.
        """
        await self._send(_version_requests.delete_version(name, version))

    async def export_version(self, name: str, version: int, *, rows: bool = False) -> bytes:
        """A head version as one file (safetensors), for `import_version` elsewhere.

        Args:
            name: The task.
            version: The version.
            rows: Also its stored codes and labels, which later trainings and comparisons need.

        Raises:
            NotFound: There is no such task or version.
        """
        return await self._send(_version_requests.export_version(name, version, rows))

    async def import_version(
        self, name: str, file: bytes, *, activate: bool | None = None
    ) -> TaskVersion:
        """Add an exported head as a task's next version; the task is made if there is none.

        Args:
            name: The task.
            file: What `export_version` gave.
            activate: Whether it answers from now on; None: when no version does yet.

        Raises:
            BadRequest: It is no such file.
            Conflict: The task is of another kind, or has other labels.
        """
        return await self._send(_version_requests.import_version(name, file, activate))

    async def shadow(self, name: str, version: int) -> Shadow:
        """Let a version answer live traffic beside the active one, unseen, and be compared.

        Args:
            name: The task.
            version: The version; one that was the shadow before no longer is.

        Raises:
            NotFound: There is no such task or version.
            Conflict: It is the active one, or reads the codes of another encoder.
        """
        return await self._send(_version_requests.start_shadow(name, version))

    async def shadow_report(self, name: str) -> Shadow:
        """How often the shadow would have answered differently, and where.

        Raises:
            NotFound: There is no such task, or it has no shadow.
        """
        return await self._send(_version_requests.get_shadow(name))

    async def end_shadow(self, name: str) -> None:
        """No longer ask the shadow. The version stays.

        Raises:
            NotFound: There is no such task, or it has no shadow.
        """
        await self._send(_version_requests.end_shadow(name))

    async def drift(self, name: str) -> Drift:
        """How far the texts asked of a task are from its training rows.

        Args:
            name: The task.

        Returns:
            What the process that answers this call saw.

        Raises:
            NotFound: There is no such task.
        """
        return await self._send(_version_requests.get_drift(name))

    async def drifts(self) -> list[Drift]:
        """The same of every task."""
        return await self._send(_version_requests.list_drift())

    async def backfill(
        self,
        name: str,
        path: str | os.PathLike[str],
        *,
        version: int | None = None,
        tasks: Sequence[str] | None = None,
        scores: bool = False,
    ) -> Backfill:
        """Let a head answer for all stored codes, without an encoder pass, into a file.

        Each line of the file is one code's answer: `{"key": ..., "predictions": {task: ...}}`. Of
        a path that ends in `.parquet` it is a Parquet file with the columns `key`, the task's name,
        and `_score` after it; the service needs pyarrow for that.

        Args:
            name: The task.
            path: The file; one that is there is replaced when all is written.
            version: Of the task, active or not; None: the active one.
            tasks: Other tasks to answer in the same go, by their active versions.
            scores: Also give the probability of every label.

        Raises:
            OSError: The file cannot be written.
            NotFound: There is no such task or version.
            Conflict: A head reads the codes of another encoder, no version is active, or (code
                `parquet_unavailable`) the service writes no Parquet.
            Overloaded: Other backfills are under way.
            Unavailable: The server that holds the codes does not answer.
        """
        call = _version_requests.backfill(name, version, tasks, scores, path)
        return await self._download(call, path)

    async def suspects(
        self, name: str, version: int, *, limit: int = 100, neighbours: int = 5
    ) -> Suspects:
        """Rows that a version was made from whose labels look wrong, the most suspicious first.

        Other rows' labels are asked: those of the nearest rows, and what heads say that were not
        fitted on the row. Texts are not stored: `row` counts in what the version was trained on.

        Args:
            name: The task; one with one label a text.
            version: The version.
            limit: Rows, at most.
            neighbours: Shown of each, up to 10.

        Raises:
            NotFound: There is no such task or version.
            Conflict: It was stored without its rows, or texts of this task may have several labels
                or a number.
        """
        call = _similar_requests.suspects(name, version, limit, neighbours)
        return await self._send(call)

    async def outdated(self) -> list[OutdatedHead]:
        """Active heads that must be trained anew, because the encoder is another one now."""
        return await self._send(_version_requests.outdated())
