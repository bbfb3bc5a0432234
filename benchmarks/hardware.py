"""The hardware and date of a measurement; no host names."""

from __future__ import annotations

import os
import platform
from datetime import date
from pathlib import Path


def processor() -> str:
    """Return the processor's name and its number of cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def today() -> str:
    """Return the date in ISO format (2026-01-31)."""
    return date.today().isoformat()
