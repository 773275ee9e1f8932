"""What the driver tells Ray Tune, and hears of it: which trial is next, why workers died."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from bench.sweep.jobs import job_from_dict
from bench.sweep.worker import Trial
from bench.sweep.workspace import Workspace

LOW_MEMORY = "Ray ended it because its machine ran low on memory"


class DependencyOrder(Searcher):
    """Gives Tune one trial after another, each once all jobs that it needs have ended."""

    def __init__(self, workspace: Workspace, trials: Sequence[Trial]) -> None:
        super().__init__()
        self.workspace = workspace
        self.waiting = list(range(len(trials)))
        self.running: set[str] = set()
        self.jobs = {job["key"]: job_from_dict(job) for trial in trials for job in trial.jobs}
        self.needs = [self._needs(trial) for trial in trials]

    def _needs(self, trial: Trial) -> set[str]:
        """Return the keys of jobs of other trials that must have ended before a trial."""
        own = {job["key"] for job in trial.jobs}
        needs = {key for job in own for key in self.jobs[job].needs}
        return needs & self.jobs.keys() - own

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial's number, None while one may yet become ready."""
        ended: dict[str, bool] = {}
        for number in self.waiting:
            for key in list(self.needs[number]):
                if key not in ended:
                    ended[key] = self.workspace.ended(self.jobs[key])
                if not ended[key]:
                    break
                self.needs[number].remove(key)
            else:
                self.waiting.remove(number)
                self.running.add(trial_id)
                return {"trial": number}
        return None if self.running else Searcher.FINISHED

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Hear that a trial has ended, well or not."""
        self.running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: the store knows what has ended."""

    def restore(self, checkpoint_path: str) -> None:
        """Go on from nothing."""


class StoreCallback(tune.Callback):
    """Tells the store why workers died, and Ray when to start no more trials.

    Attributes:
        workspace: what the trials share.
        trials: what they are.
        stopper: to be given to Tune beside this.
    """

    def __init__(self, workspace: Workspace, trials: Sequence[Trial]) -> None:
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
            self.workspace.record_worker_death(self.trials[trial.config["trial"]].jobs, LOW_MEMORY)


class Stopper(tune.Stopper):
    """Ends what Tune runs once a stop was asked for and no job is running."""

    def __init__(self, workspace: Workspace, trials: Sequence[Trial]) -> None:
        self.workspace, self.trials, self.asked = workspace, trials, False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: a trial ends by itself."""
        return False

    def stop_all(self) -> bool:
        """Return whether to start no more trials."""
        asked = self.asked or self.workspace.stopping()
        return asked and not any(self.workspace.busy(trial.jobs) for trial in self.trials)
