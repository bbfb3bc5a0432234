"""Segment an image with an app's network, and write the result on the image's grid."""
