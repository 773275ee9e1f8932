"""How a generative model completes a window: one inference per file, found by name.

A new inference is one new file here with a subclass of ``base.Inference``. It sees a model through
the methods of ``models.base.GenerativeImputer`` alone, so that any inference serves any model.
"""

__all__ = ["base"]
