"""Numeric profiles, and which one a machine should run: a pure choice from stated facts."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.artifact import ArtifactError

Backend = Literal["torch", "openvino"]
Device = Literal["cpu", "cuda"]
Dtype = Literal["int8", "bf16", "fp32"]
MAX_ACCURACY_LOSS = 0.003  # mean over the gate's tasks; a profile that costs more is not chosen


@dataclass(frozen=True, slots=True)
class Profile:
    """A backend, a device and a number format: together they decide the last bits of a code."""

    backend: Backend
    device: Device
    dtype: Dtype

    @property
    def name(self) -> str:
        """Such as `openvino-cpu-int8`; part of the fingerprint."""
        return f"{self.backend}-{self.device}-{self.dtype}"


# Fastest first, as measured by benchmarks/encoder.py. The order is fixed, not timed at each start:
# a profile is part of the fingerprint, and two replicas must not choose differently by chance.
PREFERENCE = (
    Profile("torch", "cuda", "bf16"),
    Profile("torch", "cuda", "fp32"),
    Profile("openvino", "cpu", "int8"),
    Profile("openvino", "cpu", "bf16"),
    Profile("torch", "cpu", "bf16"),
    Profile("openvino", "cpu", "fp32"),
    Profile("torch", "cpu", "fp32"),
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What the choice depends on.

    Attributes:
        torch: it is installed.
        openvino: likewise.
        cuda: a CUDA device is there, and torch is built for it.
        bf16: the processor multiplies bf16 natively.
        int8: the processor multiplies int8 with 32-bit sums (VNNI, AMX or the like).
    """

    torch: bool
    openvino: bool
    cuda: bool
    bf16: bool
    int8: bool

    def has(self, profile: Profile) -> bool:
        """Whether the profile's library and device are here."""
        installed = self.torch if profile.backend == "torch" else self.openvino
        return installed and (self.cuda or profile.device == "cpu")

    def runs(self, profile: Profile) -> bool:
        """Whether the profile can run here, and not slower than a plainer one."""
        if not self.has(profile) or profile.device == "cuda":
            return self.has(profile)
        return {"int8": self.int8, "bf16": self.bf16, "fp32": True}[profile.dtype]


@dataclass(frozen=True, slots=True)
class Offer:
    """What an artifact says of one profile.

    `accuracy_change` is that of the mean accuracy of heads over the gate's tasks against fp32,
    None when it was not measured.
    """

    accuracy_change: float | None

    @property
    def passes(self) -> bool:
        return self.accuracy_change is None or self.accuracy_change >= -MAX_ACCURACY_LOSS


def runnable_profiles(machine: Machine, offers: Mapping[str, Offer]) -> list[Profile]:
    """The profiles that are offered and run here, fastest first, whatever the gate says."""
    return [p for p in PREFERENCE if p.name in offers and machine.runs(p)]


def choose_profile(
    machine: Machine,
    offers: Mapping[str, Offer],
    *,
    backend: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
) -> Profile:
    """The fastest profile that is wanted, offered, runs here and passes the accuracy gate.

    A profile named outright (backend and dtype) skips the gate and the processor's features: it is
    then the user's choice. It must be offered and its library installed.

    Args:
        machine: see `this_machine`.
        offers: what the artifact can run, by profile name.
        backend: `auto`, `torch` or `openvino`.
        device: `auto`, `cpu` or `cuda`.
        dtype: `auto`, `int8`, `bf16` or `fp32`.

    Raises:
        ArtifactError: none is left; the message says what was wanted and what is there.
    """
    named = "auto" not in (backend, dtype)
    for profile in PREFERENCE:
        wanted = (
            backend in ("auto", profile.backend)
            and device in ("auto", profile.device)
            and dtype in ("auto", profile.dtype)
        )
        if not wanted or profile.name not in offers:
            continue
        if named and machine.has(profile):
            return profile
        if machine.runs(profile) and offers[profile.name].passes:
            return profile
    installed_names = [
        name for name, there in (("torch", machine.torch), ("openvino", machine.openvino)) if there
    ]
    raise ArtifactError(
        f"no profile for backend={backend}, device={device}, dtype={dtype}: the encoder offers "
        f"{', '.join(sorted(offers)) or 'none'}; installed: "
        f"{' and '.join(installed_names) or 'neither torch nor openvino'}"
    )


def this_machine() -> Machine:
    """The facts about the machine at hand, without importing torch or openvino."""
    flags = _cpu_flags()
    return Machine(
        torch=importlib.util.find_spec("torch") is not None,
        openvino=importlib.util.find_spec("openvino") is not None,
        cuda=_torch_is_for_cuda() and _has_cuda(),
        bf16=bool(flags & {"avx512_bf16", "amx_bf16", "bf16"}),
        int8=bool(flags & {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"}),
    )


def _cpu_flags() -> set[str]:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return set(value.split())
    # Not Linux: Apple's processors have both, of others nothing is known.
    return {"bf16", "i8mm"} if platform.machine() == "arm64" else set()


def _torch_is_for_cuda() -> bool:
    """Read it from torch's version file: a build for CPUs is of no use on a card."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    with contextlib.suppress(OSError):
        text = (Path(spec.origin).parent / "version.py").read_text()
        return re.search(r"^cuda\b.*=\s*['\"]", text, re.MULTILINE) is not None
    return False


def _has_cuda() -> bool:
    """Ask the driver: importing torch to ask it would cost seconds on machines without a card."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return False
    except (OSError, AttributeError):
        return False
    return count.value > 0
