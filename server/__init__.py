"""The server that all apps share: the app class, configuration, background refresh and routes."""

from pool.aliases import install

install()
