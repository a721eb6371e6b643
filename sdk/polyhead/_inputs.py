"""Checks texts before they are sent, and splits many of them into requests. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MAX_REQUEST_BYTES = 4_000_000
"""UTF-8 bytes of text in one request; a single longer text goes alone."""


def check_text(value: object, where: str) -> str:
    """A string that UTF-8 can carry.

    Raises:
        TypeError: It is no string.
        ValueError: It holds a lone surrogate, half of a character, as comes from cutting UTF-16
            in the middle or from reading undecodable file names.
    """
    if not isinstance(value, str):
        raise TypeError(f"{where} must be a str, not {type(value).__name__}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where} holds a lone surrogate, U+{ord(value[error.start]):04X} at character "
            f"{error.start}, which UTF-8 and JSON cannot carry"
        ) from None
    return value


def check_list(values: object, name: str) -> list[str]:
    """A list of strings that UTF-8 can carry, never empty.

    Args:
        values: Any iterable of strings except a string, which would be read letter by letter.
        name: Of the argument, for the messages.

    Raises:
        TypeError: It is a string or no iterable, or an item is no string.
        ValueError: It is empty, or an item cannot be carried.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence of str, not {type(values).__name__}")
    checked = [check_text(value, f"{name}[{index}]") for index, value in enumerate(values)]
    if not checked:
        raise ValueError(f"{name} must not be empty")
    return checked


def check_inputs(values: object) -> list[str]:
    """Like `check_list` for the texts of a call, where one string means one text."""
    if isinstance(values, str):
        return [check_text(values, "inputs")]
    return check_list(values, "inputs")


def split_inputs(
    texts: Sequence[str], max_items: int, max_bytes: int = MAX_REQUEST_BYTES
) -> list[list[str]]:
    """Cut texts into requests, keeping the order.

    Args:
        texts: Any number of texts.
        max_items: Most texts in one request, at least 1.
        max_bytes: Most UTF-8 bytes of text in one request. A text that is longer by itself is
            not cut: it makes a request alone.

    Returns:
        Requests that hold the texts back to back, none of them empty.
    """
    if max_items < 1:
        raise ValueError(f"max_items must be at least 1, not {max_items}")
    requests: list[list[str]] = []
    room = 0
    for text in texts:
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if not requests or len(requests[-1]) == max_items or size > room:
            requests.append([])
            room = max_bytes
        requests[-1].append(text)
        room -= size
    return requests
