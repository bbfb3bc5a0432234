"""The instant head: segmentation from frozen dense features, from the first label on."""
