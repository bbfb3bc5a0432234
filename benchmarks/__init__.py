"""Programs that measure the project and drive it as an annotator would."""

from pool.aliases import install

# short names used in the documentation: `python -m benchmarks.run` is benchmarks/experiments/run.py
_COMMANDS = {
    "experiments": ("run", "tables", "summary", "again", "empty_picks", "curves", "simulate", "csal3d"),
    "pictures": ("figures", "screenshots", "screenshots_ohif"),
    "load": ("crowd", "server_load", "latency", "map_frames"),
    "speed": ("million",),
}
MOVED = {name: f"{room}.{name}" for room, names in _COMMANDS.items() for name in names}
MOVED["speed_cluster"] = "speed.cluster"
alias(__name__, MOVED)
