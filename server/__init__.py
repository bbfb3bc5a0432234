"""What every app shares as a server: the app, configuration, background refresh, routes."""

from pool.aliases import alias

MOVED = {name: f"cli.{name}" for name in ("pool", "new_app", "dicom_in")}  # documented commands
alias(__name__, MOVED)
