"""A CT series as DICOM files, one per slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def write_series(folder: Path, voxels: np.ndarray, affine: np.ndarray) -> Path:
    """Files whose names are not in the order of the slices.

    :param voxels: (W, H, D) int16
    :param affine: (4, 4) to right-anterior-superior; axial slices
    """
    folder.mkdir(parents=True)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    steps = np.abs(np.diag(affine))
    for z in range(voxels.shape[2]):
        data = Dataset()
        data.file_meta = Dataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = CTImageStorage
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.Modality, data.PatientID, data.PatientName, data.InstanceNumber = "CT", "one", "One^A", z + 1
        data.ImagePositionPatient = (lps @ [0, 0, z, 1])[:3].tolist()
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [steps[1], steps[0]], steps[2]
        data.Columns, data.Rows = voxels.shape[:2]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 1
        data.RescaleIntercept, data.RescaleSlope = 0, 1
        data.PixelData = np.ascontiguousarray(voxels[:, :, z].T).tobytes()
        data.is_little_endian, data.is_implicit_VR = True, False
        data.save_as(folder / f"{(z * 3) % voxels.shape[2]}.dcm", write_like_original=False)
    return folder
