"""models.profiles: which profile a machine runs."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch

from models.artifact import ArtifactError
from models.profiles import (
    MAX_ACCURACY_LOSS,
    PREFERENCE,
    Machine,
    Offer,
    Profile,
    choose_profile,
    this_machine,
)

BIG = Machine(torch=True, openvino=True, cuda=True, bf16=True, int8=True)
SERVER = replace(BIG, cuda=False)  # a processor with everything
PLAIN = replace(SERVER, bf16=False, int8=False)
LEAN = replace(SERVER, torch=False)
ALL = {profile.name: Offer(None) for profile in PREFERENCE}


def without(*names: str) -> dict[str, Offer]:
    assert set(names) <= set(ALL)
    return {name: offer for name, offer in ALL.items() if name not in names}


def failing(*names: str) -> dict[str, Offer]:
    assert set(names) <= set(ALL)
    return ALL | {name: Offer(-2 * MAX_ACCURACY_LOSS) for name in names}


CHOICES: list[tuple[str, Machine, dict[str, Offer], dict[str, str], str]] = [
    ("a card is taken", BIG, ALL, {}, "torch-cuda-bf16"),
    ("a card unless cpu is wanted", BIG, ALL, {"device": "cpu"}, "openvino-cpu-int8"),
    ("a card without torch", replace(BIG, torch=False), ALL, {}, "openvino-cpu-int8"),
    ("a card, fp32", BIG, ALL, {"dtype": "fp32"}, "torch-cuda-fp32"),
    ("a card, openvino", BIG, ALL, {"backend": "openvino"}, "openvino-cpu-int8"),
    ("no card", SERVER, ALL, {}, "openvino-cpu-int8"),
    ("no torch", LEAN, ALL, {}, "openvino-cpu-int8"),
    ("no openvino", replace(SERVER, openvino=False), ALL, {}, "torch-cpu-bf16"),
    ("no VNNI", replace(SERVER, int8=False), ALL, {}, "openvino-cpu-bf16"),
    ("neither VNNI nor bf16", PLAIN, ALL, {}, "openvino-cpu-fp32"),
    ("plain, torch", PLAIN, ALL, {"backend": "torch"}, "torch-cpu-fp32"),
    ("plain, no openvino", replace(PLAIN, openvino=False), ALL, {}, "torch-cpu-fp32"),
    ("no int8 offered", SERVER, without("openvino-cpu-int8"), {}, "openvino-cpu-bf16"),
    ("int8 fails", SERVER, failing("openvino-cpu-int8"), {}, "openvino-cpu-bf16"),
    (
        "int8 and bf16 fail",
        SERVER,
        failing("openvino-cpu-int8", "openvino-cpu-bf16", "torch-cpu-bf16"),
        {},
        "openvino-cpu-fp32",
    ),
    ("bf16 fails on the card", BIG, failing("torch-cuda-bf16"), {}, "torch-cuda-fp32"),
    (
        "named skips the gate",
        SERVER,
        failing("openvino-cpu-int8"),
        {"backend": "openvino", "dtype": "int8"},
        "openvino-cpu-int8",
    ),
    (
        "named skips the processor",
        PLAIN,
        ALL,
        {"backend": "openvino", "dtype": "int8"},
        "openvino-cpu-int8",
    ),
    (
        "half named does not",
        SERVER,
        failing("openvino-cpu-bf16"),
        {"dtype": "bf16"},
        "torch-cpu-bf16",
    ),
    ("named, no card", SERVER, ALL, {"backend": "torch", "dtype": "bf16"}, "torch-cpu-bf16"),
    (
        "named, a card but cpu",
        BIG,
        ALL,
        {"backend": "torch", "dtype": "bf16", "device": "cpu"},
        "torch-cpu-bf16",
    ),
]


@pytest.mark.parametrize(
    ("machine", "offers", "wanted", "expected"),
    [pytest.param(*case[1:], id=case[0]) for case in CHOICES],
)
def test_the_choice(
    machine: Machine, offers: dict[str, Offer], wanted: dict[str, str], expected: str
) -> None:
    assert choose_profile(machine, offers, **wanted).name == expected


NOTHING: list[tuple[str, Machine, dict[str, Offer], dict[str, str]]] = [
    ("nothing installed", replace(SERVER, torch=False, openvino=False), ALL, {}),
    ("no card", SERVER, ALL, {"device": "cuda"}),
    ("no card, named", SERVER, ALL, {"device": "cuda", "backend": "torch", "dtype": "bf16"}),
    ("openvino has no card", BIG, ALL, {"backend": "openvino", "device": "cuda"}),
    ("torch has no int8", BIG, ALL, {"backend": "torch", "dtype": "int8"}),
    ("torch is missing", LEAN, ALL, {"backend": "torch"}),
    ("torch is missing, named", LEAN, ALL, {"backend": "torch", "dtype": "fp32"}),
    ("nothing offered", BIG, {}, {}),
    ("no VNNI, half named", PLAIN, ALL, {"dtype": "int8"}),
    ("all fail", BIG, failing(*ALL), {}),
]


@pytest.mark.parametrize(
    ("machine", "offers", "wanted"), [pytest.param(*case[1:], id=case[0]) for case in NOTHING]
)
def test_nothing_left_says_what_was_wanted_and_what_there_is(
    machine: Machine, offers: dict[str, Offer], wanted: dict[str, str]
) -> None:
    with pytest.raises(ArtifactError) as caught:
        choose_profile(machine, offers, **wanted)
    message = str(caught.value)
    for name in ("backend", "device", "dtype"):
        assert f"{name}={wanted.get(name, 'auto')}" in message
    for name in offers:
        assert name in message
    installed = message.partition("installed: ")[2]
    if not (machine.torch or machine.openvino):
        assert installed == "neither torch nor openvino"
    else:
        assert ("torch" in installed) == machine.torch
        assert ("openvino" in installed) == machine.openvino


def test_whatever_is_chosen_was_wanted_offered_and_runs() -> None:
    machines = [Machine(*facts) for facts in product([False, True], repeat=5)]
    names = ("auto", "torch", "openvino"), ("auto", "cpu", "cuda"), ("auto", "int8", "bf16", "fp32")
    chosen = 0
    for machine, (backend, device, dtype) in product(machines, list(product(*names))):
        wanted: dict[str, Any] = {"backend": backend, "device": device, "dtype": dtype}
        try:
            profile = choose_profile(machine, ALL, **wanted)
        except ArtifactError:
            continue
        chosen += 1
        assert backend in ("auto", profile.backend)
        assert device in ("auto", profile.device)
        assert dtype in ("auto", profile.dtype)
        assert machine.torch if profile.backend == "torch" else machine.openvino
        assert machine.cuda or profile.device == "cpu"
        if "auto" in (backend, dtype):
            assert machine.runs(profile)
            faster = PREFERENCE[: PREFERENCE.index(profile)]
            assert not any(
                machine.runs(one)
                and backend in ("auto", one.backend)
                and device in ("auto", one.device)
                and dtype in ("auto", one.dtype)
                for one in faster
            )
    assert chosen > 200


def test_the_gate() -> None:
    assert Offer(None).passes
    assert Offer(0.01).passes
    assert Offer(-MAX_ACCURACY_LOSS).passes
    assert not Offer(-MAX_ACCURACY_LOSS - 1e-9).passes
    assert not Offer(float("nan")).passes


def test_profile_names() -> None:
    assert Profile("openvino", "cpu", "int8").name == "openvino-cpu-int8"
    assert Profile("torch", "cuda", "fp32").name == "torch-cuda-fp32"
    assert len({profile.name for profile in PREFERENCE}) == len(PREFERENCE)


def test_this_machine() -> None:
    machine = this_machine()
    assert machine.torch == (importlib.util.find_spec("torch") is not None)
    assert machine.openvino == (importlib.util.find_spec("openvino") is not None)
    if torch.version.cuda is not None:  # a torch without CUDA sees no card that is there
        assert machine.cuda == torch.cuda.is_available()
    assert machine.cuda or not torch.cuda.is_available()
    assert this_machine() == machine


def test_the_processors_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, bf16, int8 in [
        (set(), False, False),
        ({"avx2", "fma"}, False, False),
        ({"avx512_bf16", "avx512_vnni"}, True, True),
        ({"avx_vnni"}, False, True),
        ({"amx_bf16", "amx_int8"}, True, True),
        ({"bf16", "i8mm"}, True, True),
        ({"asimddp"}, False, False),
    ]:
        monkeypatch.setattr("models.profiles._cpu_flags", lambda flags=flags: flags)
        machine = this_machine()
        assert (machine.bf16, machine.int8) == (bf16, int8), flags


def test_without_a_driver_there_is_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("models.profiles.ctypes.CDLL", missing)
    assert not this_machine().cuda
