"""Conversion of picture and NIfTI files to DICOM series, for teams whose images are plain files."""
