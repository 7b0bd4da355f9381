"""Where a method prepares itself on the images before the first step; `training` supplies it."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch

from sparring.config import Settings
from sparring.data.images import Images


@runtime_checkable
class Learner(Protocol):
    """Something that learns from images in many moves and can be stopped in between."""

    done: int
    total: int

    def play(self, images: Images) -> None:
        """One move."""

    def state(self) -> dict[str, Any]:
        """What `restore` needs; tensors and plain values only."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`'s value."""


@runtime_checkable
class Stage(Protocol):
    """Where a method prepares itself before the first step."""

    @property
    def dataset(self) -> Images: ...
    @property
    def device(self) -> torch.device: ...
    def learn(self, learner: Learner, *, name: str, settings: Mapping[str, Settings]) -> None:
        """Let a learner play to its end, from where an earlier one of these settings on these
        images was stopped.

        Args:
            learner: is changed in place.
            name: of what is learned, for messages and the cache.
            settings: everything besides the images that decides the result.
        """
