"""How well latents separate actions."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

NEIGHBOURS = 5


def action_correct(
    train: Tensor, train_actions: Iterable[str], test: Tensor, test_actions: Iterable[str]
) -> NDArray[np.float64]:
    """Return 1.0 for each test window whose action its neighbours in a latent space tell.

    ``train`` and ``test`` are ``(window, feature)``; features are put on one scale first. The
    action is that of most of the five nearest train windows.
    """
    # Here: importing it takes a second, which every worker would spend.
    from sklearn.neighbors import KNeighborsClassifier

    origin, scale = train.mean(dim=0), train.std(dim=0).clamp(min=1e-6)
    nearest = KNeighborsClassifier(min(NEIGHBOURS, len(train)))
    nearest.fit(((train - origin) / scale).cpu().numpy(), np.asarray(list(train_actions)))
    told = nearest.predict(((test - origin) / scale).cpu().numpy())
    return (told == np.asarray(list(test_actions))).astype(np.float64)
