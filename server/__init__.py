"""What every app shares as a server: the shell, configuration, background refresh, routes."""
