"""Programs that measure the project and drive it as an annotator would."""
