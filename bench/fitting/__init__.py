"""One fit loop for every trainable model, and what makes it fast.

In: the base class of everything that is fitted, the fit loop with its settings and checkpoints, the
optimiser, parallel micro-batches, precision and library of matrix products, memory allocation.
Never in: a model's equations, or a fit loop for one model only.
"""

__all__ = [
    "adam",
    "allocator",
    "learner",
    "matrix_products",
    "microbatches",
    "precision",
    "training",
]
