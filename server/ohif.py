"""OHIF as MONAI Label ships it, with its bugs for annotators fixed while it is served.

As shipped, its panel requests the strategy `random` whatever the menu says, labels cannot be saved,
radiographs are not segmented, its pages load fonts from Google, files in folders are answered with the start
page, and searches for studies reach the DICOM server without their search terms (docs/how-to/ohif.md).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import monailabel.endpoints
import requests
import urllib3
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse
from monailabel.config import settings
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import get_mime_type

from pool.dicomweb.bearer import Bearer, bearer_of
from pool.dicomweb.client import open_session
from server.desk.openings import opened
from server.desk.readers import give_cookie

logger = logging.getLogger(__name__)

SHIPPED = Path(monailabel.endpoints.__file__).parent / "static" / "ohif"
_OWN_CONFIG = Path(__file__).with_name("ohif_config.js")
_CORRECTIONS = {  # to the scripts of monailabel 0.8.5
    # MONAI Label's panel: the initial strategy, and the effect of its menu
    "3933.bundle.92d0a0e9bc7e6861b7c9.js": (
        ("strategy: 'random',", "strategy: Object.keys(props.info.data.strategies)[0],"),
        (
            "onChange: this.onChangeStrategy,",
            "onChange: event => this.setState({ strategy: event.target.value }),",
        ),
    ),
    # its mode: the studies for which the list offers it
    "2068.bundle.83ad900b6ad2110750da.js": (
        (
            "modalitiesArray.includes('CT') || modalitiesArray.includes('MR')",
            "['CT', 'MR', 'CR', 'DX'].some(modality => modalitiesArray.includes(modality))",
        ),
    ),
}
_MAX_THREADS = 16  # waiting for the DICOM server at once; other requests have their own threads
# the browser itself refuses everything from elsewhere
_HEADERS = {
    "Content-Security-Policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "frame-ancestors 'self'"
}
_DOTS = (".", "..")
_ABSOLUTE = re.compile(rb"(?P<quote>[\"'])(?P<path>/(?:ohif/|proxy/dicom/))")  # shipped addresses
_RETRIEVED = re.compile(r"studies/(?P<study>[0-9.]+)(?:/series/(?P<series>[0-9.]+))?(?P<rest>/.*)?$")
_FORWARDED = ("content-type", "accept")  # request headers passed on when something is stored
_RETURNED = ("content-type", "content-encoding", "etag", "last-modified")


def scripts() -> dict[str, str]:
    """Return the corrected scripts; warn, and leave out a script that is not the expected version."""
    result = {
        "app-config.js": (SHIPPED / "app-config.js").read_text("utf-8") + _OWN_CONFIG.read_text("utf-8")
    }
    for name, corrections in _CORRECTIONS.items():
        text = (SHIPPED / name).read_text("utf-8") if (SHIPPED / name).exists() else ""
        if any(text.count(shipped) != 1 for shipped, _ in corrections):
            logger.warning(
                "OHIF is not the version of monailabel 0.8.5: its panel may request random images only"
            )
            continue
        for shipped, corrected in corrections:
            text = text.replace(shipped, corrected)
        result[name] = text
    return result


@lru_cache(maxsize=4)
def changed_files(base: str) -> dict[str, bytes]:
    """Return the files that are not served as shipped, by name.

    :param base: path of this server behind a proxy, such as "/label"; the shipped files expect ""
    """
    result = {name: text.encode() for name, text in scripts().items()}
    if base:
        shipped = {name: result.get(name) or file.read_bytes() for name, file in _shipped().items()}
        result |= {
            name: _below(content, base) for name, content in shipped.items() if _ABSOLUTE.search(content)
        }
    return result


def _below(content: bytes, base: str) -> bytes:
    """Put absolute addresses in a file's strings below a path."""
    return _ABSOLUTE.sub(lambda found: found["quote"] + base.encode() + found["path"], content)


def _shipped() -> dict[str, Path]:
    return {str(file.relative_to(SHIPPED)): file for file in SHIPPED.rglob("*") if file.is_file()}


def routes() -> APIRouter:
    """Make the routes of `/ohif/...` and of `/proxy/dicom/...`, its access to the DICOM server."""
    router = APIRouter(include_in_schema=False)
    files = _shipped()
    changed_files("")  # now, so that its warning comes at the start
    limiter = CapacityLimiter(_MAX_THREADS)

    @router.get("/ohif/{path:path}")
    def ohif(path: str, request: Request) -> Response:
        changed = changed_files(request.scope.get("root_path", "").rstrip("/") + settings.MONAI_LABEL_API_STR)
        name = path if path in files else "index.html"  # which evaluates the rest of the address itself
        kind = "text/javascript" if name.endswith(".js") else get_mime_type(name)
        if name in changed:
            answer: Response = Response(changed[name], media_type=kind, headers=_HEADERS)
        else:
            answer = FileResponse(files[name], media_type=kind, headers=_HEADERS)
        if name.endswith(".html"):
            give_cookie(answer, request)
        return answer

    @router.get("/proxy/dicom/{path:path}")
    async def read(path: str, request: Request) -> Response:
        return await to_thread.run_sync(_forward, request, path, b"", limiter=limiter)

    @router.post("/proxy/dicom/{path:path}")
    async def store(path: str, request: Request) -> Response:
        content = await request.body()
        return await to_thread.run_sync(_forward, request, path, content, limiter=limiter)

    return router


def _forward(request: Request, path: str, content: bytes) -> Response:
    """Forward a request to the DICOM server, with this server's password or token, and return its answer.

    Of the caller's headers only the content type and accept are passed on, of the answer's headers only those
    that describe the content. Requests cannot leave the DICOMweb address: the DICOM server's other services
    are not for everyone who may see images. Raises HTTPException 404, 409, 502, 503.
    """
    url = settings.MONAI_LABEL_STUDIES.rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise HTTPException(409, "OHIF shows images of a DICOM server, but this pool is a folder")
    if not all(re.fullmatch(r"[A-Za-z0-9._~,=-]*", part) and part not in _DOTS for part in path.split("/")):
        raise HTTPException(404, f"{path!r} is not a DICOMweb address")
    query = f"?{request.url.query}" if request.url.query else ""
    headers = {name: request.headers[name] for name in _FORWARDED if content and name in request.headers}
    try:
        with open_session(url, _bearer()) as session:
            address = f"{url}/{_service_path(path)}{query}"
            answer = session.request(
                request.method, address, headers=headers, data=content, stream=True, allow_redirects=False
            )
            body = answer.raw.read()  # raw, still encoded
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        reason = type(error).__name__  # its text has the address, and so what was searched for
        raise HTTPException(503, f"the DICOM server {url} does not answer ({reason})") from error
    if answer.is_redirect or not 200 <= answer.status_code < 600:
        raise HTTPException(
            502, f"the DICOM server {url} answers with status {answer.status_code}, which cannot be passed on"
        )
    if request.method == "GET" and answer.ok and (uid := sent_series(path, request.query_params)):
        opened(app_instance(), uid, "dicom")
    returned = {name: answer.headers[name] for name in _RETURNED if name in answer.headers}
    return Response(body, answer.status_code, returned)


def sent_series(path: str, query: Mapping[str, str]) -> str:
    """Return the series, else the study, whose pixels a request asks for; "" for a search or headers."""
    if uid := query.get("seriesUID", ""):
        return uid
    found = _RETRIEVED.search(path)
    if found is None or (found["rest"] or "").endswith(("/metadata", "/instances", "/series")):
        return ""
    return found["series"] or found["study"]


def _bearer() -> Bearer | None:
    chosen = app_instance().context.settings
    return bearer_of(chosen.dicomweb_token_env, chosen.dicomweb_token_command)


def _service_path(path: str) -> str:
    """Return the path below the DICOMweb address, with the prefixes of MONAI Label's settings."""
    prefixes = {
        "wado": settings.MONAI_LABEL_WADO_PREFIX,
        "qido": settings.MONAI_LABEL_QIDO_PREFIX,
        "stow": settings.MONAI_LABEL_STOW_PREFIX,
    }
    service, _, subpath = path.partition("/")
    if service not in prefixes:
        return path
    if service == "qido" and subpath.endswith("metadata"):  # some versions of OHIF use the wrong service
        service = "wado"
    prefix = prefixes[service]
    return f"{prefix}/{subpath}" if prefix else subpath
