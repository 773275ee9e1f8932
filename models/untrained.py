"""An HG-VAE with random weights."""

from bench.fitting.training import FitContext
from bench.motion import Windows
from models.hgvae import HGVAE


class Untrained(HGVAE):
    """Control: an HG-VAE with its initial weights under the same inference."""

    name = "untrained"
    control = True
    trained = False

    def fit(
        self, train_windows: Windows, valid: Windows, context: FitContext | None = None
    ) -> None:
        """Compute the train set's mean and scale; leave the weights unchanged."""
        self.measure(train_windows, valid)
        self.eval()
