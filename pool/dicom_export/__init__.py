"""Picture and NIfTI files as DICOM series, for a team without a DICOM server."""
