"""A run on several processes of which one holds another bit."""

from pathlib import Path
from typing import Any

import torch

import games
from sparring import distributed
from sparring.errors import TrainingError


def ends_of_parted_ranks(folder: Path) -> dict[str, Any]:
    """Step and error with which this process ends. From the third step on the second process has
    another last bit in its teacher, which shows in no loss for long."""
    own = folder / f"run{distributed.rank()}"
    run = games.training("mocov2", own, training={"compare_steps": 2, "epochs": 3})
    step = run.game.method.step

    def disturbed(*given: Any) -> Any:
        found = step(*given)
        if run.step == 2 and distributed.rank() == 1:
            weights = run.game.method.teacher.parameters()
            vector = next(weight.detach() for weight in weights if weight.ndim == 1)
            vector[0] = torch.nextafter(vector[0], torch.tensor(2.0))
        return found

    run.game.method.step = disturbed  # type: ignore[method-assign]
    try:
        run.run()
    except TrainingError as error:
        return {"step": run.step, "error": str(error)}
    return {"step": run.step, "error": ""}
