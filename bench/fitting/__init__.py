"""One fit loop for everything that is trained, and how to run it fast.

In: the base of all that learns, the fit loop with its settings and checkpoints, the optimiser,
micro-batches, the precision and the library of matrix products, memory. Never in: a model's
equations, or a loop of a model's own.
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
