"""When to stop waiting for a job. Shared by the sync and the async client."""

from __future__ import annotations

import time

from ._errors import JobFailed, Timeout
from ._progress import Bar
from ._task_types import Job


class Watch:
    """Looks at a job again and again, until it ended or the time is up."""

    def __init__(self, timeout: float | None, poll: float) -> None:
        """Start the clock; both are in seconds, and a timeout of None never ends.

        Raises:
            ValueError: `poll` is not positive.
        """
        if not poll > 0:
            raise ValueError(f"poll must be positive, not {poll}")
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._poll = poll

    def pause(self, job: Job, bar: Bar) -> float | None:
        """Show the job, and say for how many seconds to wait before the next look.

        Returns:
            None when the job succeeded.

        Raises:
            JobFailed: It failed.
            Timeout: The time is up; the job goes on without us.
        """
        bar.show(min(1.0, max(0.0, job.progress)), job.stage)
        if job.status == "succeeded":
            return None
        if job.finished:
            raise JobFailed(job)
        if self._deadline is None:
            return self._poll
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Timeout(f"job {job.id} is still {job.status} after {self._timeout} s")
        return min(self._poll, left)
