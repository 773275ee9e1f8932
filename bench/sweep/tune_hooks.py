"""Hooks of Ray Tune: the order of trials, reasons of worker deaths, and stopping."""

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
    """Suggests trials to Tune, each once all jobs that it depends on have ended."""

    def __init__(self, workspace: Workspace, trials: Sequence[Trial]) -> None:
        super().__init__()
        self.workspace = workspace
        self.waiting = list(range(len(trials)))
        self.running: set[str] = set()
        self.jobs = {job["key"]: job_from_dict(job) for trial in trials for job in trial.jobs}
        self.needs = [self._needs(trial) for trial in trials]

    def _needs(self, trial: Trial) -> set[str]:
        """Return the keys of the jobs of other trials that a trial depends on."""
        own = {job["key"] for job in trial.jobs}
        needs = {key for job in own for key in self.jobs[job].needs}
        return needs & self.jobs.keys() - own

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial's number; None while no trial is ready, FINISHED if none can be."""
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
        """Record that a trial has ended, with or without an error."""
        self.running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the store records which jobs have ended."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the store records which jobs have ended."""


class StoreCallback(tune.Callback):
    """Stores why workers died, and stops Tune once a worker cannot write to the store.

    Attributes:
        workspace: what the trials share.
        trials: the trials, by the number that ``DependencyOrder`` suggests.
        stopper: to be passed to Tune together with this callback.
    """

    def __init__(self, workspace: Workspace, trials: Sequence[Trial]) -> None:
        self.workspace, self.trials = workspace, trials
        self.stopper = Stopper(workspace, trials)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Stop after the result of a trial whose worker could not write."""
        if result.get("unwritable"):
            self.stopper.requested = True

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Store why a worker died that Ray replaces by another."""
        self._died(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Store why a worker died that Ray does not replace."""
        self._died(trial)

    def _died(self, trial: Any) -> None:
        errors = Path(trial.error_file).read_text() if trial.error_file else ""
        if "low on memory" in errors.rsplit("Failure #", 1)[-1]:
            self.workspace.record_worker_death(self.trials[trial.config["trial"]].jobs, LOW_MEMORY)


class Stopper(tune.Stopper):
    """Stops Tune once a stop was requested and no job is running."""

    def __init__(self, workspace: Workspace, trials: Sequence[Trial]) -> None:
        self.workspace, self.trials, self.requested = workspace, trials, False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: single trials are never stopped."""
        return False

    def stop_all(self) -> bool:
        """Return whether to start no more trials."""
        requested = self.requested or self.workspace.stopping()
        return requested and not any(self.workspace.busy(trial.jobs) for trial in self.trials)
