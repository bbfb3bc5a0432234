"""A DICOMweb server as MONAI Label's datastore: series are images, segmentations are labels."""
