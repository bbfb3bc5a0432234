"""Train an app's segmentation network on the labelled images."""
