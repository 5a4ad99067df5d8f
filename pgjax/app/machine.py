"""What a result was made with."""

from __future__ import annotations

import pathlib
import platform
from typing import Any

import jax

from pgjax.app.runs import run_record


def cpu_name() -> str:
    """The processor's name."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
        model = next(line for line in text.splitlines() if "model name" in line)
        return model.partition(":")[2].strip()
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def about_this_machine() -> dict[str, Any]:
    """What a result was made with, for its record."""
    return {
        "cpu": cpu_name(),
        "devices": [device.device_kind for device in jax.devices()],
        "python": platform.python_version(),
        "versions": run_record.versions(),
    }
