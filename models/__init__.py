"""Imputers, detectors and classifiers, one file each, found by name; interfaces in ``base``."""
