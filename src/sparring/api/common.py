"""What the public functions share: a run on disk, and who is told what happens."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from sparring.evaluation.predictions import Predictions
from sparring.evaluation.score_record import predictions_of
from sparring.methods import registry
from sparring.methods.method import Method
from sparring.models.encoder import Encoder
from sparring.training.encoders import load_encoder
from sparring.training.listener import Listener
from sparring.training.run_folder import RunFolder
from sparring.training.scores import read_scores
from sparring.training.settings import RunConfig


@dataclass(frozen=True)
class Run:
    """A run on disk."""

    path: Path

    @property
    def config(self) -> RunConfig:
        """The resolved configuration."""
        return RunFolder(self.path).read_config()

    @property
    def scores(self) -> dict[str, Any]:
        """Content of scores.json: under `trained` and `untrained` (or `start weights`, for a run
        that set `encoder.weights`) the latest results of the present checkpoint by protocol, and
        every result with what it is of under `results`."""
        return read_scores(RunFolder(self.path)).tree()

    def predictions(
        self, protocol: str, *, encoder: str = "trained", test: str | None = None
    ) -> Predictions:
        """What the present checkpoint was found to predict of each scored image.

        Args:
            protocol: as it was evaluated, such as `knn` or `linear:adco`.
            encoder: `trained` or `untrained`, or `start weights` for a run that set
                `encoder.weights`.
            test: name of the scored images, as it was given; None: those scored last.

        Raises:
            RunError: if there are none, with those that there are.
        """
        return predictions_of(RunFolder(self.path), protocol, encoder=encoder, test=test)

    @property
    def encoder(self) -> Encoder:
        """The trained encoder in evaluation mode."""
        return load(self.path)


def folder_of(run: str | Path | Run) -> RunFolder:
    return RunFolder(run.path if isinstance(run, Run) else run)


@contextmanager
def heard_by(listener: Listener | None, *, progress: bool) -> Iterator[Listener | None]:
    """The listener, or one that shows progress on standard error."""
    if listener is not None or not progress:
        yield listener
        return
    from sparring.command.display import TerminalDisplay

    with TerminalDisplay() as display:
        yield display


def load(
    run: str | Path | Run, *, backbone: nn.Module | None = None, device: str = "cpu"
) -> Encoder:
    """The trained encoder of a run, in evaluation mode, with its gradients off.

    Args:
        run: run folder; an unfinished run gives the encoder of its last checkpoint.
        backbone: the network of your own with which the run was trained, if any.
        device: where to put it.
    """
    return load_encoder(folder_of(run), backbone=backbone, device=device)


def give_classes(
    config: RunConfig,
    method: str | type[Method] | None,
    opponent: str | type[Method] | Sequence[str | type[Method]] | None,
) -> None:
    """Let the classes that a stored configuration names be those that are given now."""
    if method is not None:
        registry.give("method", method, name=config.method)
    around = [opponent] if isinstance(opponent, str | type) else list(opponent or ())
    missing = [name for name in config.opponent if not registry.is_known("opponent", name)]
    for name, given in zip(missing, around, strict=False):
        registry.give("opponent", given, name=name)
