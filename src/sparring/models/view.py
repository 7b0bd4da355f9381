"""Views of images, and the cache of networks' outputs for the views of one step."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sparring.models.encoder import Encoder
from sparring.models.split_norm import adversarial_norms
from sparring.models.teacher import KeyNormSettings, Teacher
from sparring.step_parts import step_part


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """One augmented copy of each image of a batch, with the batch norms that it goes through.

    Attributes:
        pixels: pixels in [0, 1], (batch, 3, height, width).
        norms: batch norms that it goes through: the clean ones, or the second set of split norms,
            for attacked images.
        images: name of the set of images that it shows; views with the same name show the same
            images, row by row, and are positives of each other.
        apart: rows, as a mask, that show images of a set of their own, which has no other name;
            views of one name show the same images there too; None: no row does.
        weight: weight of one of its rows in a mean over all views; 1 for the batch's own.
        is_further: whether an opponent added it to the batch's own views.
        same_as: view with equal pixels and the same norms, whose outputs without gradient are
            reused for this one.
    """

    pixels: Float[Tensor, "batch bands height width"]
    norms: Literal["clean", "attacked"] = "clean"
    images: str = "batch"
    apart: Bool[Tensor, "batch"] | None = None
    weight: float = 1.0
    is_further: bool = False
    same_as: "View | None" = None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.pixels)

    @property
    def device(self) -> torch.device:
        """Device of the pixels."""
        return self.pixels.device


def as_views(pixels: Sequence[Float[Tensor, "batch bands _ _"]]) -> list[View]:
    """Clean views of the batch.

    Args:
        pixels: one tensor of pixels in [0, 1] per view.
    """
    return [View(pixels=tensor) for tensor in pixels]


class ForwardCache:
    """Cache of the outputs of a method's networks for the views of one step.

    A view goes through a network once, however many losses use it, and through the batch norms that
    it names. Views and networks are identified as objects.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[View, tuple[nn.Module, ...]], Tensor] = {}

    @step_part("forward")
    def forward(self, view: View, *networks: nn.Module) -> Tensor:
        """Output of one or several networks, applied in sequence to a view.

        Args:
            view: input of the first network.
            networks: networks, each of which takes the output of the one before.
        """
        if view.same_as is not None:
            return self.forward(view.same_as, *networks).detach()
        place = (view, networks)
        if place not in self._made:
            *before, last = networks
            given = self.forward(view, *before) if before else view.pixels
            with _norms(view, last):
                self._made[place] = last(given)
        return self._made[place]

    @step_part("forward")
    def together(self, views: Sequence[View], encoder: Encoder) -> list[Tensor]:
        """Embeddings of several views; views of equal size and norms go through together.

        Views that go through together share batch-norm statistics, as in SimCLR.

        Args:
            views: views, in the order of the result.
            encoder: network of the embeddings, see `Encoder.together`.
        """
        sources = dict.fromkeys(view.same_as or view for view in views)
        new = [view for view in sources if (view, (encoder,)) not in self._made]
        for norms in ("clean", "attacked"):
            group = [view for view in new if view.norms == norms]
            if group:
                with _norms(group[0], encoder):
                    made = encoder.together([view.pixels for view in group])
                for view, embeddings in zip(group, made, strict=True):
                    self._made[view, (encoder,)] = embeddings
        return [self.forward(view, encoder) for view in views]

    @step_part("forward")
    def keys(
        self, view: View, teacher: Teacher, norm: KeyNormSettings, *, generator: torch.Generator
    ) -> Tensor:
        """The teacher's embeddings of a view, see `Teacher.keys`.

        Args:
            view: input of the teacher.
            teacher: network of the keys.
            norm: images that share batch-norm statistics.
            generator: generator of the order of the joint batch; equal in all processes.
        """
        if view.same_as is not None:
            return self.keys(view.same_as, teacher, norm, generator=generator).detach()
        place = (view, (teacher,))
        if place not in self._made:
            with _norms(view, teacher):
                self._made[place] = teacher.keys(view.pixels, norm, generator=generator)
        return self._made[place]

    def copied(self) -> "ForwardCache":
        """Cache with the outputs that this one has; what it is asked for later, this one lacks."""
        other = ForwardCache()
        other._made = dict(self._made)
        return other

    def has_seen(self, view: View) -> bool:
        """Whether any network was given this view."""
        return any(seen is view for seen, _ in self._made)


def _norms(view: View, network: nn.Module) -> AbstractContextManager[None]:
    return adversarial_norms(network) if view.norms == "attacked" else nullcontext()
