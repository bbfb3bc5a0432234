"""A desk on a real server: a browser's calls, without the browser."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import requests

from benchmarks.server_process import Server


class Browser:
    """One browser with its cookies; the page's calls."""

    def __init__(self, server: Server, name: str = "", cookie: bool = True) -> None:
        self.url, self.web = f"{server.url}/selection", requests.Session()
        if cookie:
            self.web.get(f"{self.url}/map", timeout=60)
        if name:
            assert self.web.post(f"{self.url}/reader", json={"name": name}, timeout=60).status_code == 200

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        return self.web.request(method, f"{self.url}/{path}", timeout=120, **more)

    def image(self, image: str, what: str, **more: Any) -> requests.Response:
        return self.ask("GET", f"image/{quote(image)}/{what}", **more)

    def array(self, image: str, what: str, **params: Any) -> np.ndarray:
        """Return an image's voxels, pre-label or label as the page sees it."""
        answer = self.image(image, what, params=params)
        assert answer.status_code == 200, answer.text
        shape = [int(n) for n in answer.headers["X-Shape"].split(",")]
        shape = shape[1:] if "slice" in params else shape
        return np.frombuffer(answer.content, np.dtype(answer.headers["X-Dtype"])).reshape(shape)

    def save(self, image: str, mask: np.ndarray, packed: bool = True, **params: Any) -> requests.Response:
        about = {"shape": mask.shape, "dtype": mask.dtype.name, "state": "edited", **params}
        content = gzip.compress(mask.tobytes()) if packed else mask.tobytes()
        return self.ask(
            "PUT",
            f"image/{quote(image)}/label",
            data={"params": json.dumps(about)},
            files={"mask": ("mask", content)},
        )

    def next(self, **verbs: Any) -> dict[str, Any]:
        answer = self.web.post(
            f"{self.url.removesuffix('/selection')}/activelearning/auto", json=verbs, timeout=60
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def lease(self, image: str, method: str = "POST", **more: Any) -> requests.Response:
        return self.ask(method, f"lease/{quote(image)}", **more)

    def draft(self, image: str, content: bytes, note: dict[str, Any]) -> requests.Response:
        headers = {"X-Draft": json.dumps(note)}
        return self.ask("PUT", f"image/{quote(image)}/draft", data=content, headers=headers)


def stored(studies: Path, image: str) -> Path:
    """Return the file of an image's final label."""
    (file,) = (studies / "labels" / "final").glob(f"{image}.*")
    return file
