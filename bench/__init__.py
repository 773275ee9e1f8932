"""A benchmark harness comparing generative imputers of human motion."""

__version__ = "0.1.0"
