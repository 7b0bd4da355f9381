"""MLflow: a run of an experiment, in a local store or on a server."""

import os
import time
from collections.abc import Mapping
from typing import Any

from sparring.loggers.logger import End, LoggedRun

EXPERIMENT = "sparring"
STATUSES: Mapping[End, str] = {
    "finished": "FINISHED",
    "interrupted": "KILLED",
    "failed": "FAILED",
}
MOST_PARAMETERS = 100
"""Limit of the parameters of one call."""
LONGEST_PARAMETER = 500
"""Limit of a parameter's characters, in the strictest store."""


class MlflowLogger:
    """Logger to MLflow, by a client of its own: the process's current run stays as it is.

    Args:
        place: tracking URI, such as `sqlite:///runs.db` or `http://host:5000`; None: that of
            MLFLOW_TRACKING_URI, or MLflow's default.
    """

    def __init__(self, place: str | None = None) -> None:
        self._place = place
        self._last_step = -1

    def open(self, run: LoggedRun) -> str:
        """Begin a run, or go on with the one of the same id.

        MLflow keeps every point that it has, so that those of steps before the last are left out.

        Returns:
            id of the run.
        """
        from mlflow import MlflowClient

        self._client: Any = MlflowClient(tracking_uri=self._place)
        if run.kept is not None and self._goes_on(run.kept):
            return run.kept
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        experiment = self._client.get_experiment_by_name(name)
        number = (
            self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        )
        self._id = self._client.create_run(number, run_name=run.name).info.run_id
        self._log_settings(run.settings)
        return str(self._id)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log the numbers of one step."""
        from mlflow.entities import Metric

        if step <= self._last_step:
            return
        now = int(1000 * time.time())
        self._client.log_batch(
            self._id, metrics=[Metric(name, value, now, step) for name, value in numbers.items()]
        )

    def close(self, end: End) -> None:
        """Mark how the run ended."""
        self._client.set_terminated(self._id, status=STATUSES[end])

    def _goes_on(self, kept: str) -> bool:
        """Whether the store has the run, which is then running again."""
        from mlflow.exceptions import MlflowException

        try:
            found = self._client.get_run(kept)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        self._id = kept
        for name in found.data.metrics:
            history = self._client.get_metric_history(kept, name)
            self._last_step = max([self._last_step, *(point.step for point in history)])
        self._client.update_run(kept, status="RUNNING")
        return True

    def _log_settings(self, settings: Mapping[str, object]) -> None:
        from mlflow.entities import Param

        found = [Param(name, str(value)[:LONGEST_PARAMETER]) for name, value in settings.items()]
        for first in range(0, len(found), MOST_PARAMETERS):
            self._client.log_batch(self._id, params=found[first : first + MOST_PARAMETERS])
