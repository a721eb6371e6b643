"""The figures that the capacity model goes by: measured rates, assumed ones, prices.

Measured ones name where they are from; "experiments" is docs/experiments.md. All are of a core of
the machine named there: what that virtual machine shows as a CPU. Others are assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

PRICES_OF = "2026-11"


@dataclass(frozen=True, slots=True)
class Rates:
    """What one core, card or byte does."""

    # experiments, "Encoder engine": 774 texts/s on two cores over HTTP, 32 texts a request, texts
    # of 23 tokens on the mean, the load generator on the same cores.
    encoder_texts_a_core: float = 774 / 2
    # ASSUMED: no card was measured in service. In training (forward, backward, optimizer) one
    # NVIDIA H200 did 15,800 texts/s, nine trainings of MiniLM side by side, 256 texts a step. A
    # pass alone is less work than a training step; tokenizing, left out there, is more.
    encoder_texts_a_card: float = 15_800.0
    # experiments, "256 texts a request", rows "Valkey", 1 connection: 169,114 texts/s with one task
    # and 37,632 with 20, server and Valkey on one core. A line through the two.
    api_s_a_text: float = 1 / 169_114 - (1 / 37_632 - 1 / 169_114) / 19
    api_s_a_task: float = (1 / 37_632 - 1 / 169_114) / 19
    # experiments, "256 texts a request", last lines: 7,171 requests/s of one text x 20 tasks at 16
    # connections, less what a text of 256 takes (front cache: 51,558 texts/s).
    api_s_a_request: float = 1 / 7_171 - 1 / 51_558
    # experiments, "256 texts a request": 344 KB for 256 texts x 20 tasks.
    answer_bytes_a_task: float = 344_000 / (256 * 20)
    # decisions/014: bytes of the server's memory a code of 192 bytes with expiry.
    string_bytes: float = 302.0
    packed_bytes: float = 224.0
    # docs/results/capacity.json, "calibration": processor time of the server for a request of one
    # code, and for storing one besides. With many texts a request it is less.
    redis_s_a_read: float = 6.5e-6
    redis_s_a_write: float = 33e-6


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars. ASSUMED, round, of no provider and no contract: put your own in."""

    core_hour: float = 0.04  # a vCPU of a general purpose machine with 4 GiB
    card_hour: float = 4.0  # an H200-class card with the machine around it
    memory_gib_hour: float = 0.006  # of a machine with much memory, its cores in it
    out_gib: float = 0.0  # traffic that leaves; 0 inside of one zone
    hours_a_month: float = 730.0
    cores_a_machine: int = 16
    gib_a_machine: int = 128
