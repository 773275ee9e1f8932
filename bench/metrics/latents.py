"""How well latents separate actions: nearest-neighbour classification."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

NEIGHBOURS = 5
"""Train windows that vote on the action of a test window."""


def action_correct(
    train: Tensor, train_actions: Iterable[str], test: Tensor, test_actions: Iterable[str]
) -> NDArray[np.float64]:
    """Classify the action of test windows by their nearest neighbours in a latent space.

    The prediction is the majority among the ``NEIGHBOURS`` nearest train windows, after each
    feature is standardised by the train windows.

    Args:
        train: ``(window, feature)`` latents of train windows.
        train_actions: their actions.
        test: ``(window, feature)`` latents of test windows.
        test_actions: their actions.

    Returns:
        ``(window,)`` 1.0 for each test window classified correctly, else 0.0.
    """
    # Imported here: it takes a second, which every worker would spend.
    from sklearn.neighbors import KNeighborsClassifier

    origin, scale = train.mean(dim=0), train.std(dim=0).clamp(min=1e-6)
    nearest = KNeighborsClassifier(min(NEIGHBOURS, len(train)))
    nearest.fit(((train - origin) / scale).cpu().numpy(), np.asarray(list(train_actions)))
    predicted = nearest.predict(((test - origin) / scale).cpu().numpy())
    return (predicted == np.asarray(list(test_actions))).astype(np.float64)
