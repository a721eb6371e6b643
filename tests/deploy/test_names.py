"""The name server of the topology. Its real clients are in test_topology.py: glibc, HAProxy, Go."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("yaml")

from scripts.compose_file import interpolate, stage_environment
from scripts.names import respond
from scripts.topology import moved


def lookup(name: str) -> Sequence[str] | None:
    return {"api": ["127.1.2.3", "127.1.2.4"], "gone": []}.get(name)


def query(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return (
        struct.pack("!HHHHHH", 77, 0x0100, 1, 0, 0, 0)
        + labels
        + b"\0"
        + struct.pack("!HH", kind, 1)
    )


def test_a_name_is_all_of_its_addresses() -> None:
    answer = respond(query("api"), lookup)
    identity, flags, questions, answers = struct.unpack_from("!HHHH", answer)
    assert (identity, questions, answers) == (77, 1, 2)
    assert flags & 0x8000
    assert flags & 0xF == 0
    assert answer.endswith(b"\x00\x04\x7f\x01\x02\x04")


@pytest.mark.parametrize(
    ("name", "kind", "code"), [("other", 1, 3), ("gone", 1, 0), ("api", 28, 0)]
)
def test_no_address_is_no_record(name: str, kind: int, code: int) -> None:
    answer = respond(query(name, kind), lookup)
    _, flags, _, answers = struct.unpack_from("!HHHH", answer)
    assert (flags & 0xF, answers) == (code, 0)


@given(st.binary(max_size=64))
def test_garbage_is_survived(message: bytes) -> None:
    answer = respond(message, lookup)
    assert not answer or answer[:2] == message[:2]


def test_variables_are_filled_in_as_compose_does() -> None:
    text = "${A} ${B:-two} ${C:-} $$A ${D:-x:y/z}"
    assert interpolate(text, {"A": "one"}) == "one two  $A x:y/z"
    with pytest.raises(ValueError, match="E is missing: say so"):
        interpolate("${E:?say so}", {"E": ""})


def test_an_image_has_the_variables_of_the_stages_below_it() -> None:
    text = "FROM x AS base\nENV A=1 \\\n    B=2\nFROM base AS top\nENV B=3\n"
    assert stage_environment(text, "top") == {"A": "1", "B": "3"}


def test_only_whole_paths_are_moved() -> None:
    inside = {"/data": "/here/d", "/prometheus": "/here/p"}
    text = "a=/data/x /database /etc/prometheus/y >/prometheus '/data'"
    assert moved(text, inside) == "a=/here/d/x /database /etc/prometheus/y >/here/p '/here/d'"
