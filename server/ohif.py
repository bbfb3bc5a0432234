"""OHIF as MONAI Label ships it, with what stands in an annotator's way put right while it is served.

Shipped, its panel asks for the strategy `random` whatever its menu says, nothing saves a label, radiographs
are not segmented, its pages ask Google for fonts, files in folders are answered with the start page, and
searches for studies reach the DICOM server without their words (docs/how-to/ohif.md).
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import monailabel.endpoints
import requests
import urllib3
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse
from monailabel.config import settings
from monailabel.utils.others.generic import get_mime_type

from pool.dicomweb.client import open_session

logger = logging.getLogger(__name__)

SHIPPED = Path(monailabel.endpoints.__file__).parent / "static" / "ohif"
_OURS = Path(__file__).with_name("ohif_config.js")
_CORRECTIONS = {  # of the scripts of monailabel 0.8.5
    # MONAI Label's panel: the strategy that it starts with, and what its menu does
    "3933.bundle.92d0a0e9bc7e6861b7c9.js": (
        ("strategy: 'random',", "strategy: Object.keys(props.info.data.strategies)[0],"),
        (
            "onChange: this.onChangeStrategy,",
            "onChange: event => this.setState({ strategy: event.target.value }),",
        ),
    ),
    # its mode: what studies the list offers it for
    "2068.bundle.83ad900b6ad2110750da.js": (
        (
            "modalitiesArray.includes('CT') || modalitiesArray.includes('MR')",
            "['CT', 'MR', 'CR', 'DX'].some(modality => modalitiesArray.includes(modality))",
        ),
    ),
}
_THREADS = 16  # that may wait for the DICOM server at once; the other requests have threads of their own
# the browser itself refuses whatever is not this server's
_HEADERS = {
    "Content-Security-Policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "frame-ancestors 'self'"
}
_DOTS = (".", "..")
_SENT_ON = ("content-type", "accept")  # of a caller's headers, when something is stored
_SENT_BACK = ("content-type", "content-encoding", "etag", "last-modified")


def scripts() -> dict[str, str]:
    """The scripts that differ from the shipped ones; with a warning, none for another OHIF than expected."""
    changed = {"app-config.js": (SHIPPED / "app-config.js").read_text("utf-8") + _OURS.read_text("utf-8")}
    for name, corrections in _CORRECTIONS.items():
        text = (SHIPPED / name).read_text("utf-8") if (SHIPPED / name).exists() else ""
        if any(text.count(old) != 1 for old, _ in corrections):
            logger.warning("OHIF is not that of monailabel 0.8.5: its panel may ask for random images only")
            continue
        for old, new in corrections:
            text = text.replace(old, new)
        changed[name] = text
    return changed


def routes() -> APIRouter:
    """`/ohif/...`, and `/proxy/dicom/...`, its way to the DICOM server."""
    found = APIRouter(include_in_schema=False)
    changed = scripts()
    files = {str(file.relative_to(SHIPPED)): file for file in SHIPPED.rglob("*") if file.is_file()}
    limiter = CapacityLimiter(_THREADS)

    @found.get("/ohif/{path:path}")
    def ohif(path: str) -> Response:
        if path in changed:
            return Response(changed[path], media_type="text/javascript", headers=_HEADERS)
        file = files.get(path, SHIPPED / "index.html")  # which reads the rest of the address itself
        return FileResponse(file, media_type=get_mime_type(str(file)), headers=_HEADERS)

    @found.get("/proxy/dicom/{path:path}")
    async def read(path: str, request: Request) -> Response:
        return await to_thread.run_sync(_forward, request, path, b"", limiter=limiter)

    @found.post("/proxy/dicom/{path:path}")
    async def store(path: str, request: Request) -> Response:
        content = await request.body()
        return await to_thread.run_sync(_forward, request, path, content, limiter=limiter)

    return found


def _forward(request: Request, path: str, content: bytes) -> Response:
    """The DICOM server's answer, asked with this server's password.

    Nothing of the caller's headers reaches it but the type of what is sent, and of its answer's headers only
    those that describe the content come back. Its DICOMweb address is never left: its other services are not
    for everybody who may see images. Raises HTTPException 404, 409, 502, 503.
    """
    url = settings.MONAI_LABEL_STUDIES.rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise HTTPException(409, "OHIF shows images of a DICOM server, and this pool is a folder")
    if not all(re.fullmatch(r"[A-Za-z0-9._~,=-]*", part) and part not in _DOTS for part in path.split("/")):
        raise HTTPException(404, f"{path!r} is no DICOMweb address")
    words = f"?{request.url.query}" if request.url.query else ""
    headers = {name: request.headers[name] for name in _SENT_ON if content and name in request.headers}
    try:
        with open_session(url) as session:
            address = f"{url}/{_address(path)}{words}"
            answer = session.request(
                request.method, address, headers=headers, data=content, stream=True, allow_redirects=False
            )
            body = answer.raw.read()  # as it was sent, with its encoding
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise HTTPException(503, f"the DICOM server {url} does not answer: {error}") from error
    if answer.is_redirect or not 200 <= answer.status_code < 600:
        raise HTTPException(502, f"the DICOM server {url} answers {answer.status_code}, which is no answer")
    back = {name: answer.headers[name] for name in _SENT_BACK if name in answer.headers}
    return Response(body, answer.status_code, back)


def _address(path: str) -> str:
    """The path below the DICOMweb address, with the prefixes of MONAI Label's settings."""
    prefixes = {
        "wado": settings.MONAI_LABEL_WADO_PREFIX,
        "qido": settings.MONAI_LABEL_QIDO_PREFIX,
        "stow": settings.MONAI_LABEL_STOW_PREFIX,
    }
    service, _, rest = path.partition("/")
    if service not in prefixes:
        return path
    if service == "qido" and rest.endswith("metadata"):  # some versions of OHIF ask there
        service = "wado"
    prefix = prefixes[service]
    return f"{prefix}/{rest}" if prefix else rest
