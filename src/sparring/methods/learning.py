"""Interfaces for an opponent that learns from images before the first step, of which `training`
implements the cache, and for what knows single images."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from sparring.config import Settings
from sparring.data.images import Images


@runtime_checkable
class Pretrainable(Protocol):
    """Something that learns from images in many steps and can be stopped between two of them."""

    done: int
    total: int

    def train_step(self, images: Images) -> None:
        """Make one step."""

    def state(self) -> dict[str, Any]:
        """State that `restore` takes; tensors and plain values only."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`'s value."""


@runtime_checkable
class OpponentCache(Protocol):
    """Cache of what opponents have learned from images, for later runs on the same images.

    Attributes:
        seed: the run's seed, from which an opponent's draws before the first step follow.
    """

    seed: int

    def train(
        self,
        pretraining: Pretrainable,
        *,
        name: str,
        settings: Mapping[str, Settings],
        seed: int = 0,
    ) -> None:
        """Train to the end, continuing an earlier training with the same settings if there is one.

        Args:
            pretraining: training to run; changed in place.
            name: what is learned, for messages and file names.
            settings: everything besides the images and the seed that affects the result.
            seed: of the pretraining's draws.
        """


@runtime_checkable
class TellsImagesApart(Protocol):
    """Module with a state that is of single images, or of a run's own course, and that another run
    cannot take over."""

    def start_over(self, images: Images, *, is_other: bool) -> bool:
        """Prepare for a new run, which takes the state of an earlier one.

        Args:
            images: training images of the new run, without labels.
            is_other: whether the earlier run's images were others.

        Returns:
            Whether anything was forgotten.
        """
