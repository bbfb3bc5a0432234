"""A proxy that resets connections, as a machine that dies or a firewall that gives up does."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST


class Proxy(threading.Thread):
    """Passes on what both sides send, until it is told to reset the connection at the client's next word."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port, self.listener = port, socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.resets, self.done = False, 0  # whether to; how often it did
        self.loses_commit = 0  # n: reset when the server says for the n-th time that it has committed

    def run(self) -> None:
        with suppress(OSError):  # closed: the test is over
            while True:
                self._connect(self.listener.accept()[0])

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._port))
        except OSError:  # the server is down
            return client.close()
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=self._pass_on, args=(source, target, client), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if source is client:
                    is_lost = self.resets
                elif is_lost := b"COMMIT" in data and self.loses_commit > 0:
                    self.loses_commit -= 1
                    is_lost = not self.loses_commit
                if is_lost:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    self.done += 1
                    break
                target.sendall(data)
        source.close()
        with suppress(OSError):
            target.shutdown(socket.SHUT_RD)  # ends the other thread, which closes it

    def reset(self, seconds: float) -> None:
        """Reset every connection that is used in the next seconds."""
        self.resets = True
        time.sleep(seconds)
        self.resets = False


@contextmanager
def resetting(port: int) -> Iterator[Proxy]:
    """Run a proxy before a port of this machine."""
    proxy = Proxy(port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.listener.close()
