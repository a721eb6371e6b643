"""Everything this package raises about the service.

PolyheadError
├── ServiceUnreachable      no connection, or it broke (also a `ConnectionError`)
├── Timeout                 no answer in time, or `jobs.wait` ran out (also a `TimeoutError`)
├── ProtocolError           an answer that the contract does not allow
├── APIError                the service answered with an error status
│   ├── BadRequest          400  unreadable or empty input
│   ├── AuthenticationError 401  no key, or a wrong one
│   ├── PermissionDenied    403  the key lacks the scope
│   ├── NotFound            404  unknown task, version, job or key
│   ├── Conflict            409  the task exists with another kind, or the encoder differs
│   ├── TooLarge            413  the body is too large
│   ├── InvalidField        422  a field is invalid; the message names it
│   ├── Overloaded          429  too busy now; `retry_after`
│   ├── Unavailable         503  the encoder is unavailable; `retry_after`
│   └── ServerError         any other 5xx
└── JobFailed               a training or evaluation ended in failure; `job`

Arguments that are wrong before anything is sent raise `ValueError` or `TypeError` instead.
All of these can be pickled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._task_types import Job


class PolyheadError(Exception):
    """The root of the tree."""


class ServiceUnreachable(PolyheadError, ConnectionError):
    """No connection could be made, or it broke before the answer was complete."""


class Timeout(PolyheadError, TimeoutError):
    """The answer, or the end of a job, did not come in time."""


class ProtocolError(PolyheadError):
    """The answer is not what the contract says: not JSON, a field missing or of another type."""


class APIError(PolyheadError):
    """The service answered with an error status.

    Attributes:
        status: The HTTP status.
        message: What the service said, for people.
        type: The family of the error, or None.
        param: The field at fault, or None. In a call that was split into several requests an
            index in it counts from the start of its request; a note on the error gives the range.
        code: A stable word for programs, such as `"key_not_found"`, or None.
        request_id: The `x-request-id` of the answer, or None.
    """

    def __init__(
        self,
        status: int,
        message: str,
        type: str | None = None,
        param: str | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Keep every argument positional, which is what makes the error picklable."""
        super().__init__(status, message, type, param, code, request_id)
        self.status = status
        self.message = message
        self.type = type
        self.param = param
        self.code = code
        self.request_id = request_id

    def __str__(self) -> str:
        """The message, then what helps to find the request again."""
        details = [f"status {self.status}"]
        details += [
            f"{name} {value}"
            for name, value in (
                ("param", self.param),
                ("code", self.code),
                ("request id", self.request_id),
            )
            if value
        ]
        return f"{self.message} ({', '.join(details)})"


class BadRequest(APIError):
    """400: the input could not be read, or is empty."""


class AuthenticationError(APIError):
    """401: no key, or a wrong one."""


class PermissionDenied(APIError):
    """403: the key is right but lacks the scope."""


class NotFound(APIError):
    """404: unknown task, version, job, or a key that is not stored (`code` `key_not_found`)."""


class Conflict(APIError):
    """409: the task exists with another kind or labels, or was trained for another encoder."""


class TooLarge(APIError):
    """413: the body is larger than the service takes."""


class InvalidField(APIError):
    """422: a field is invalid; `param` and the message name it."""


class _Later(APIError):
    """An error that says when to come back."""

    def __init__(
        self,
        status: int,
        message: str,
        type: str | None = None,
        param: str | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(status, message, type, param, code, request_id)
        self.args = (*self.args, retry_after)
        self.retry_after = retry_after


class Overloaded(_Later):
    """429: too busy. `retry_after` is what the service asked for in seconds, or None."""


class Unavailable(_Later):
    """503: the encoder is unavailable. `retry_after` is in seconds, or None."""


class ServerError(APIError):
    """Any 5xx other than 503."""


class JobFailed(PolyheadError):
    """A job ended in failure.

    Attributes:
        job: The job as it ended; `job.error` says why.
    """

    def __init__(self, job: Job) -> None:
        """Keep the job."""
        super().__init__(job)
        self.job = job

    def __str__(self) -> str:
        """One line: which job, of which task, and why."""
        reason = self.job.error.message if self.job.error else f"status {self.job.status}"
        return f"job {self.job.id} of task {self.job.task!r} failed: {reason}"


BY_STATUS: dict[int, type[APIError]] = {
    400: BadRequest,
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: InvalidField,
}
"""The class of each status that needs no `retry_after`."""

LATER: dict[int, type[_Later]] = {429: Overloaded, 503: Unavailable}
"""The class of each status that carries `retry_after`."""
