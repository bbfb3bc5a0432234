"""MONAI Label apps, one folder each; MONAI Label loads `<app>/main.py`."""
