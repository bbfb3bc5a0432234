"""What a measurement was made on; no host names."""

from __future__ import annotations

import os
import platform
from datetime import date
from pathlib import Path


def processor() -> str:
    """The processor's name and how many of its cores there are."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def today() -> str:
    """The date as 2026-01-31."""
    return date.today().isoformat()
