"""The server that all apps share: the app class, configuration, background refresh and routes."""

from pool.aliases import alias

MOVED = {name: f"cli.{name}" for name in ("pool", "new_app", "dicom_in")}  # documented commands
alias(__name__, MOVED)
