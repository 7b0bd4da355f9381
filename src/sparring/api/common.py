"""What the public functions share: a run on disk, and who is told what happens."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.models.encoder import Encoder
from sparring.training.listener import Listener
from sparring.training.run_folder import RunFolder
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
        """Content of scores.json."""
        return RunFolder(self.path).read_scores()

    @property
    def encoder(self) -> Encoder:
        """The trained encoder in evaluation mode."""
        from sparring.api.training import load

        return load(self.path)


def folder_of(run: str | Path | Run) -> RunFolder:
    return RunFolder(run.path if isinstance(run, Run) else run)


@contextmanager
def heard_by(listener: Listener | None, *, progress: bool) -> Iterator[Listener | None]:
    """The listener, or one that shows progress on standard error."""
    if listener is not None or not progress:
        yield listener
        return
    from sparring.command.display import Display

    with Display() as display:
        yield display
