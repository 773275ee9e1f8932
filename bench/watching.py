"""What the driver does while Ray Tune runs its trials: hear why workers died, and stop early."""

from pathlib import Path
from typing import Any

from ray import tune

from bench.trials import Workspace

LOW_MEMORY = "Ray ended it because its machine ran low on memory"


class Watch(tune.Callback):
    """Tells the store why workers died, and Ray when to start no more trials.

    Attributes:
        workspace: what the trials share.
        trials: the jobs of each.
        stopper: to be given to Tune beside this.
    """

    def __init__(self, workspace: Workspace, trials: list[list[dict[str, Any]]]) -> None:
        self.workspace, self.trials = workspace, trials
        self.stopper = Stopper(workspace, trials)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Hear that a worker could not write."""
        if result.get("unwritable"):
            self.stopper.asked = True

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Hear that a worker died; another will take its place."""
        self._died(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Hear that a worker died once too often."""
        self._died(trial)

    def _died(self, trial: Any) -> None:
        told = Path(trial.error_file).read_text() if trial.error_file else ""
        if "low on memory" in told.rsplit("Failure #", 1)[-1]:
            self.workspace.note_death(self.trials[trial.config["trial"]], LOW_MEMORY)


class Stopper(tune.Stopper):
    """Ends what Tune runs once a stop was asked for and no job is running."""

    def __init__(self, workspace: Workspace, trials: list[list[dict[str, Any]]]) -> None:
        self.workspace, self.trials, self.asked = workspace, trials, False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: a trial ends by itself."""
        return False

    def stop_all(self) -> bool:
        """Return whether to start no more trials."""
        asked = self.asked or self.workspace.stopping()
        return asked and not any(map(self.workspace.busy, self.trials))
