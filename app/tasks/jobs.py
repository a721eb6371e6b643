"""Jobs on disk: one small file each, so that every process sharing the folder can answer for them.

A job belongs to the process that runs it, which stamps the file as it goes. A job whose stamp has
grown old belonged to a process that is gone: it reads as failed, and says why. The clock alone does
not decide that, since it may be set while the job runs: an old stamp must also stay as it is.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from pathlib import Path

from pydantic import ValidationError

from app.errors import NotFound
from app.files import replace_file
from app.schemas import ErrorBody, Job, JobKind

STALE_AFTER_S = 15.0
STAMP_EVERY_S = 2.0
GRACE_S = 2.5 * STAMP_EVERY_S
KEEP = 1000
_ID = re.compile(r"^job-[0-9a-f]{32}$")


class JobStore:
    """Job files under `root`. Blocking; called in threads where it matters.

    Args:
        root: the folder.
        grace_s: how long an old stamp is watched before its job is given up.
    """

    def __init__(self, root: Path, grace_s: float = GRACE_S) -> None:
        self._root = root
        self._grace_s = grace_s
        self._stamps: dict[str, tuple[float, float]] = {}  # of jobs that run: stamp, seen since
        root.mkdir(parents=True, exist_ok=True)

    def create(self, task: str, kind: JobKind = "training") -> Job:
        """A new queued job."""
        job = Job(
            id=f"job-{uuid.uuid4().hex}",
            kind=kind,
            task=task,
            status="queued",
            stage="queued",
            progress=0.0,
            created_at=time.time(),
        )
        self._prune()
        self.save(job)
        return job

    def save(self, job: Job) -> None:
        """Replace the job's file."""
        replace_file(self._root / f"{job.id}.json", job.model_dump_json().encode())

    def stamp(self, job_id: str) -> None:
        """Say that the job is still being worked on."""
        os.utime(self._root / f"{job_id}.json")

    def get(self, job_id: str) -> Job:
        """A job by id.

        Raises:
            NotFound: there is none.
        """
        path = self._root / f"{job_id}.json"
        try:
            if not _ID.fullmatch(job_id):
                raise FileNotFoundError
            job = Job.model_validate_json(path.read_bytes())
            stamp = path.stat().st_mtime
        except (FileNotFoundError, ValidationError):
            raise NotFound(f"no job {job_id[:80]!r}", param="id", code="job_not_found") from None
        if job.status not in ("queued", "running"):
            self._stamps.pop(job_id, None)
            return job
        return interrupted(job) if self._is_abandoned(job_id, stamp) else job

    def list(self) -> list[Job]:
        """All jobs, newest first."""
        jobs = []
        for path in self._root.glob("job-*.json"):
            try:
                jobs.append(self.get(path.stem))
            except NotFound:
                continue
        return sorted(jobs, key=lambda job: -job.created_at)

    def _is_abandoned(self, job_id: str, stamp: float) -> bool:
        now = time.monotonic()
        known, since = self._stamps.get(job_id, (stamp, now))
        if known != stamp:
            since = now
        self._stamps[job_id] = (stamp, since)
        unchanged = now - since
        is_old = time.time() - stamp > STALE_AFTER_S
        return unchanged > STALE_AFTER_S or (is_old and unchanged >= self._grace_s)

    def _prune(self) -> None:
        files = sorted(self._root.glob("job-*.json"), key=_age_key)
        for path in files[: max(0, len(files) - KEEP + 1)]:
            with contextlib.suppress(NotFound):  # damaged, or gone since
                if self.get(path.stem).status in ("succeeded", "failed"):
                    path.unlink(missing_ok=True)
                    self._stamps.pop(path.stem, None)


def _age_key(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def interrupted(job: Job) -> Job:
    """The job as one whose process ended before it did."""
    return job.model_copy(
        update={
            "status": "failed",
            "error": ErrorBody(
                message="the process that ran this job ended; start it again "
                "(texts that were encoded are cached)",
                type="server_error",
                param=None,
                code="job_interrupted",
            ),
        }
    )
