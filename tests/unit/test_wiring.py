"""app.wiring: what of it can be seen without a service."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

from app.wiring import DEVICE_NICE, step_back


def nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_only_the_thread_that_steps_back_does_so_and_those_it_starts() -> None:
    before = nice()
    with ThreadPoolExecutor(1, initializer=step_back) as stepped_back:
        assert stepped_back.submit(nice).result() == DEVICE_NICE
        with stepped_back.submit(ThreadPoolExecutor, 1).result() as another:
            assert stepped_back.submit(another.submit, nice).result().result() == DEVICE_NICE
    assert nice() == before
