"""Computes the fits and cells of a protocol into the store, on Ray or in this process.

In: the plan of jobs and their cache keys, the worker that runs them, what a cell computes, the
store, statuses, executors, the cluster. Never in: statistics over cells, or anything printed but
progress.
"""

__all__ = [
    "cells",
    "cluster",
    "executions",
    "executors",
    "exhibits",
    "forecasts",
    "job_table",
    "jobs",
    "machines",
    "occlusion",
    "plan",
    "progress",
    "status",
    "store",
    "times",
    "worker",
    "workspace",
]
