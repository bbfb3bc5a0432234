"""Talk to a DICOMweb server: search in pages, download, upload, with errors that say what to do."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from dicomweb_client import DICOMwebClient
from dicomweb_client.ext.gcp.session_utils import create_session_from_gcp_credentials
from dicomweb_client.session_utils import create_session_from_user_pass
from monailabel.config import settings
from monailabel.datastore.dicom import DICOMwebClientX
from monailabel.datastore.utils.dicom import dicom_web_download_series
from pydicom import Dataset
from requests.adapters import HTTPAdapter

from pool.dicomweb.bearer import Bearer, TokenError
from pool.errors import PoolError
from pool.imaging.images import ImageError

logger = logging.getLogger(__name__)
_TIMEOUT = (5.0, 30.0)  # seconds to connect, and between two pieces of an answer
# what is kept of a series: tag, keyword; clients of MONAI Label show these
_SERIES = {
    "0020000E": "SeriesInstanceUID",
    "0020000D": "StudyInstanceUID",
    "00080060": "Modality",
    "00080020": "StudyDate",
    "00080030": "StudyTime",
    "00100020": "PatientID",
    "00081190": "RetrieveURL",
}


class ServerError(PoolError):
    """The DICOM server does not answer (503) or refuses (502); the text names its URL and what to do.

    :param code: the HTTP status that it answered with, if any
    """

    def __init__(self, status: int, text: str, code: int = 0) -> None:
        super().__init__(status, text)
        self.code = code


class SeriesError(PoolError, ImageError):
    """One series that cannot be used (422), while the server works; the text names it."""

    def __init__(self, text: str) -> None:
        super().__init__(422, text)

    def __reduce__(self) -> tuple[type[SeriesError], tuple[str]]:
        return type(self), (self.text,)  # as PoolError has two arguments


class _Patient(HTTPAdapter):
    """Give every request a time limit: `requests` alone would wait for ever."""

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        return super().send(request, stream, timeout or _TIMEOUT, verify, cert, proxies)


def _is_google(url: str) -> bool:
    return "googleapis.com" in url


def open_session(url: str, bearer: Bearer | None = None) -> requests.Session:
    """Open a session with a token, MONAI Label's settings for user and password, or Google's credentials."""
    user, password = settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD
    if _is_google(url):
        session = create_session_from_gcp_credentials()
    else:
        session = create_session_from_user_pass(user, password) if user and password else requests.Session()
    session.auth = bearer or session.auth
    session.mount("http://", _Patient())
    session.mount("https://", _Patient())
    return session


def connect(url: str, bearer: Bearer | None = None) -> DICOMwebClient:
    """Return a client with MONAI Label's settings for user, password, prefixes, and Google's store."""
    session = open_session(url, bearer)
    if _is_google(url):
        client = DICOMwebClient(url=url, session=session)
    else:
        client = DICOMwebClientX(
            url=url,
            session=session,
            qido_url_prefix=settings.MONAI_LABEL_QIDO_PREFIX,
            wado_url_prefix=settings.MONAI_LABEL_WADO_PREFIX,
            stow_url_prefix=settings.MONAI_LABEL_STOW_PREFIX,
        )
    client.set_http_retry_params(retry=False)  # a click must not wait for five attempts
    return client


class DicomServer:
    """One DICOMweb server. Every method raises ServerError when it is down or refuses.

    :param page: series asked for at once; a server may give fewer
    :param bearer: signs the requests; by default MONAI Label's settings do
    """

    def __init__(self, url: str, page: int = 500, bearer: Bearer | None = None) -> None:
        self.url, self.client, self._page = url, connect(url, bearer), page

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn what `requests` raises into a ServerError."""
        try:
            yield
        except requests.HTTPError as error:
            raise self._refused(error) from error
        except requests.JSONDecodeError as error:
            raise ServerError(
                502, f"{self.url} does not answer as DICOMweb does; its URL often ends in /dicom-web"
            ) from error
        except TokenError as error:
            raise ServerError(503, f"the DICOM server {self.url} is not asked: {error}") from None
        except requests.RequestException as error:
            raise ServerError(
                503,
                f"the DICOM server {self.url} does not answer ({type(error).__name__}); start it or check "
                "the network, then try again",
            ) from error

    def _refused(self, error: requests.HTTPError) -> ServerError:
        code = error.response.status_code if error.response is not None else 0
        if code in (401, 403):
            what = (
                "set MONAI_LABEL_DICOMWEB_USERNAME and MONAI_LABEL_DICOMWEB_PASSWORD, or --conf "
                "dicomweb_token_env or dicomweb_token_command (for dicom-in --token-env or --token-command), "
                "to somebody who may search, read and store"
            )
        elif code in (400, 404, 405):
            what = "check the URL, which often ends in /dicom-web; the server's log says more"
        else:
            what = "its log says why; try again once it is repaired"
        status = 503 if code in (429, 503, 504) else 502
        return ServerError(status, f"the DICOM server {self.url} refused with HTTP {code}: {what}", code)

    def search(self, filters: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
        """Return all series that fit one of the filters: {series UID: {keyword: value}}."""
        series: dict[str, dict[str, str]] = {}
        for wanted in filters:
            for row in self._rows(wanted):
                values = {name: str(first(row, tag)) for tag, name in _SERIES.items() if first(row, tag)}
                if values.get("Modality", "") in ("", wanted.get("Modality", values.get("Modality", ""))):
                    series[values["SeriesInstanceUID"]] = values
        return series

    def _rows(self, wanted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the rows of one search, page by page, until a page brings nothing new.

        Servers have limits of their own, and some ignore the offset.
        """
        seen: set[str] = set()
        count = 0
        while True:
            with self._asking():
                rows = self.client.search_for_series(
                    search_filters=dict(wanted),
                    limit=self._page,
                    offset=count,
                    fields=[name for name in _SERIES.values() if name != "RetrieveURL"],
                )
            fresh = [row for row in rows if first(row, "0020000E") not in seen]
            if not fresh:
                return
            yield from fresh
            seen.update(first(row, "0020000E") for row in fresh)
            count += len(rows)

    def metadata(self, study: str, series: str) -> list[dict[str, Any]]:
        """Return the DICOM JSON of each instance of a series."""
        with self._asking():
            return self.client.retrieve_series_metadata(study, series)

    def download(self, study: str, series: str, folder: Path) -> None:
        """Download a series' files into a folder. Raises SeriesError when only this series cannot be had."""
        by_frame = settings.MONAI_LABEL_DICOMWEB_FETCH_BY_FRAME
        try:
            with self._asking():
                dicom_web_download_series(study, series, str(folder), self.client, by_frame)
            reason = "" if any(folder.iterdir()) else "the server sent no file"
        except ServerError as error:
            if error.status == 503:
                raise
            self.check()  # down for all, or only this series?
            reason = f"HTTP {error.code}" + (", it is not there any more" if error.code in (404, 410) else "")
        except Exception as error:  # pydicom raises many kinds for a damaged file
            reason = f"{type(error).__name__}: {error}"
        if reason:
            raise SeriesError(f"series {series} cannot be fetched from {self.url}: {reason}")

    def instances(self, study: str, series: str) -> set[str]:
        """Return the UIDs of the images that the server has of a series; none for an unknown one."""
        uids: set[str] = set()
        while True:
            try:
                with self._asking():
                    rows = self.client.search_for_instances(
                        study, series, fields=["SOPInstanceUID"], limit=self._page, offset=len(uids)
                    )
            except ServerError as error:
                if error.code == 404:  # some servers' word for none
                    return uids
                raise
            fresh = {str(first(row, "00080018")) for row in rows} - uids
            if not fresh:
                return uids
            uids |= fresh

    def store(self, *instances: Dataset) -> None:
        """Upload instances, in one request."""
        with self._asking():
            answer = self.client.store_instances(instances)
        if failed := answer.get("FailedSOPSequence"):
            why = failed[0].get("FailureReason", 0)
            raise ServerError(
                502,
                f"the DICOM server {self.url} did not keep the file (reason 0x{int(why):04X}): its log says "
                "why; save again once it is repaired",
            )

    def check(self) -> None:
        """Raise ServerError unless the server answers a search."""
        with self._asking():
            self.client.search_for_series(limit=1)


def first(row: Mapping[str, Any], tag: str) -> Any:
    """Return the first value of a tag in DICOM JSON, or None."""
    values = row.get(tag, {}).get("Value")
    return values[0] if values else None
