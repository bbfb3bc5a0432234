"""The server that every app shares: the app, configuration, background refresh, routes."""

from pool.aliases import install

install()
