"""Inference: how a generative model completes a window. One per file, found by name.

A new inference is one new file here with a subclass of ``base.Inference``. It uses a model through
the methods of ``models.base.GenerativeImputer`` only, so any inference works with any model.
"""

__all__ = ["base"]
