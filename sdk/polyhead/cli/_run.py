"""Runs the command line: what becomes of errors, Ctrl-C and a reader that leaves.

Exit codes:
    0   done
    1   done in part: an input had no answer, a training failed, heads are outdated still,
        nothing was deleted
    2   wrong usage: an argument, or a file that cannot be read or written
    3   the service does not answer, or is too busy: the same command may work later
    4   the service refuses: an unknown task or version, a conflict, an invalid field
    5   no key, a wrong one, or one that may not do this
    130 Ctrl-C (ended by SIGINT, as shells tell it)
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from .._errors import (
    APIError,
    AuthenticationError,
    JobFailed,
    Overloaded,
    PermissionDenied,
    PolyheadError,
    ServerError,
    ServiceUnreachable,
    Timeout,
    Unavailable,
)
from ._app import app
from ._output import ReaderLeft

OK, PARTLY, USAGE, LATER, REFUSED, KEY = 0, 1, 2, 3, 4, 5
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and end the process."""
    try:
        status = run(arguments)
    except KeyboardInterrupt:
        print("polyhead: stopped", file=sys.stderr, flush=True)
        _die_by(signal.SIGINT)
    except ReaderLeft:  # `polyhead ... | head`
        _die_by(getattr(signal, "SIGPIPE", signal.SIGTERM))
    if threading.active_count() > 1:
        # Requests that are still waited for must not hold up the end.
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        ReaderLeft: Nobody reads our output any more.
    """
    try:
        result = app(
            None if arguments is None else list(arguments),
            prog_name="polyhead",
            standalone_mode=False,
        )
    except (KeyboardInterrupt, ReaderLeft):
        raise
    except PolyheadError as error:
        return _say(*_told(error))
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        return _say(USAGE, f"{name}{error.strerror or error}")
    except ValueError as error:
        return _say(USAGE, str(error))
    except Exception as error:
        # Wrong usage: of typer's own click or of an installed one, by typer's version.
        told = getattr(error, "format_message", None)
        if told is None:
            raise
        # No command at all: the help is the message, and typer has shown it.
        return _say(USAGE, f"{message} (see `polyhead --help`)") if (message := told()) else USAGE
    if result == INTERRUPTED:  # how typer passes on Ctrl-C
        raise KeyboardInterrupt
    return result if isinstance(result, int) else OK


def _told(error: PolyheadError) -> tuple[int, str]:
    if isinstance(error, AuthenticationError | PermissionDenied):
        return KEY, f"{error.message}; `polyhead login` stores a key"
    if isinstance(error, Overloaded | Unavailable | ServerError):
        return LATER, str(error)
    if isinstance(error, ServiceUnreachable):
        return LATER, f"the service does not answer ({error}); is the URL right? see --url"
    if isinstance(error, Timeout):
        return LATER, f"no answer in time ({error})"
    if isinstance(error, JobFailed):
        return PARTLY, str(error)
    return REFUSED, error.message if isinstance(error, APIError) else str(error)


def _say(status: int, message: str) -> int:
    """One line, whatever the message holds."""
    print(f"polyhead: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return status


def _die_by(number: int) -> NoReturn:
    """End as the signal would have ended us: shells and scripts look at that."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)
