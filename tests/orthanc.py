"""A real DICOM server for tests: Orthanc with its DICOMweb plugin, and radiographs to put on it.

A plugin (`-p` in setup.cfg), so that the tests of the pool and of the server share its fixtures. Orthanc runs
with a configuration, a port and a folder of its own: one that Debian's package started does not matter.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tests.options import missing_service

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_CLASSES = {
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",  # for presentation
    "CT": CTImageStorage,
}


class Orthanc:
    """One server on 127.0.0.1; what it holds outlives `stop` and `start`."""

    def __init__(self, binary: str, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self.rest = f"http://127.0.0.1:{self._port}"
        self.url = f"{self.rest}/dicom-web"
        self._folder, self._process = folder, None
        config = {
            "Name": "tests",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(_PLUGIN)],
            "HttpPort": self._port,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (folder / "orthanc.json").write_text(json.dumps(config))
        self._command = [binary, str(folder / "orthanc.json")]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = open(self._folder / "orthanc.log", "ab")  # noqa: SIM115  the process keeps it
        self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < end:
            try:
                if requests.get(f"{self.url}/series?limit=1", timeout=5).ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.1)
        pytest.fail(f"Orthanc did not start:\n{(self._folder / 'orthanc.log').read_text()[-2000:]}")

    def stop(self) -> None:
        """As a crash."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def add(self, *files: Dataset) -> list[str]:
        """Store DICOM files; their series UIDs."""
        for file in files:
            buffer = BytesIO()
            file.save_as(buffer, write_like_original=False)
            requests.post(f"{self.rest}/instances", data=buffer.getvalue(), timeout=30).raise_for_status()
        return [str(file.SeriesInstanceUID) for file in files]

    def find(self, modality: str) -> list[str]:
        """UIDs of all series of a modality."""
        wanted = {"Level": "Series", "Query": {"Modality": modality}, "Expand": True}
        rows = requests.post(f"{self.rest}/tools/find", json=wanted, timeout=30).json()
        return sorted(row["MainDicomTags"]["SeriesInstanceUID"] for row in rows)

    def remove(self, series: str) -> None:
        wanted = {"Level": "Series", "Query": {"SeriesInstanceUID": series}}
        for found in requests.post(f"{self.rest}/tools/find", json=wanted, timeout=30).json():
            requests.delete(f"{self.rest}/series/{found}", timeout=30).raise_for_status()


def radiograph(name: str, pixels: np.ndarray, modality: str = "CR", inverse: bool = False) -> Dataset:
    """A DICOM file of one image: 8-bit pixels (H, W) as 12 bits; `inverse` is MONOCHROME1.

    :param name: of the patient; the same name gives the same UIDs
    """
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.is_little_endian, file.is_implicit_VR = True, False
    file.SpecificCharacterSet = "ISO_IR 100"
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = _CLASSES[modality]
    file.SOPInstanceUID = generate_uid(entropy_srcs=[name, "image"])
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
    file.StudyInstanceUID = generate_uid(entropy_srcs=[name, "study"])
    file.SeriesInstanceUID = generate_uid(entropy_srcs=[name, "series"])
    file.Modality, file.PatientID, file.PatientName = modality, name, f"Müller^{name}"
    file.StudyDate, file.StudyTime, file.SeriesNumber, file.InstanceNumber = "20260102", "030405", 1, 1
    file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.PixelRepresentation = 1, 0
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, 12, 11
    file.PhotometricInterpretation = "MONOCHROME1" if inverse else "MONOCHROME2"
    deep = pixels.astype(np.uint16) * 16
    file.PixelData = (4095 - deep if inverse else deep).astype("<u2").tobytes()
    if modality == "CR":
        file.PixelSpacing = [0.4, 0.3]
    else:
        file.ImagerPixelSpacing = [0.4, 0.3]
    if modality == "DX":
        file.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
        file.FrameOfReferenceUID = generate_uid(entropy_srcs=[name, "frame"])  # allowed, without a position
    if modality == "CT":
        file.ImagePositionPatient, file.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
        file.PixelSpacing, file.SliceThickness = [0.4, 0.3], 1
        file.FrameOfReferenceUID = generate_uid(entropy_srcs=[name, "frame"])
    return file


@pytest.fixture(scope="module")
def make_orthanc(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Orthanc]]:
    """Starts empty DICOM servers, and ends them with the module."""
    binary: Any = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if not binary or not _PLUGIN.exists():
        missing_service(request.config, "no DICOM server: apt-get install orthanc orthanc-dicomweb")
    started: list[Orthanc] = []

    def make() -> Orthanc:
        started.append(Orthanc(binary, tmp_path_factory.mktemp("orthanc")))
        started[-1].start()
        return started[-1]

    yield make
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def orthanc(make_orthanc: Callable[[], Orthanc]) -> Orthanc:
    """An empty DICOM server for one module of tests."""
    return make_orthanc()
