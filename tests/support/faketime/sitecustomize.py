"""For Python processes under libfaketime: a sleep that libfaketime does not break.

``time.sleep`` waits for a moment of the monotonic clock (clock_nanosleep with TIMER_ABSTIME). libfaketime 0.9.10
reckons such a moment as one of the faked clock, also where it does not fake the monotonic one, and after a step of the
clock the kernel is asked for a time that is none: EINVAL. ``select`` waits for a span of time, which it leaves alone.
"""

from __future__ import annotations

import select
import time
from typing import SupportsIndex


def sleep(seconds: float | SupportsIndex) -> None:
    """Wait that long."""
    span = seconds if isinstance(seconds, float) else float(seconds.__index__())
    if span < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], span)


time.sleep = sleep
