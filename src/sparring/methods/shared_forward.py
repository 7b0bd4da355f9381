"""Every view goes through every network once per step, however often a wrapper looks, and through
the norm set it is shown in.

A wrapper looks at a method several times in a step, with some views in common. This remembers, for
one step, what each network of the method made of each view, and says which set of batch norms a
view goes through. A view is recognised by being the same tensor, so a method hands views to its
networks as it got them: `encoder(view)`, `teacher(view)`, `encoder.together(views)`. What a network
made of a view belongs to the same norm set, so a predictor behind the encoder follows.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from torch import Tensor, nn

from sparring.errors import ConfigError
from sparring.methods.method import Method, innermost
from sparring.models.split_norm import adversarial_norms, has_batch_norm
from sparring.models.teacher import Teacher

Forward: TypeAlias = Callable[..., Tensor]
Together: TypeAlias = Callable[[Sequence[Tensor]], Sequence[Tensor]]
VERBS = ("forward", "shuffled", "together")
"""The ways in which a network is handed views."""


@dataclass(frozen=True)
class _Shown:
    """How a tensor is to be seen; the tensor is kept, so that its identity is not given to another
    one."""

    tensor: Tensor
    is_adversarial: bool
    stands_for: Tensor | None = None


@dataclass
class SharedForward:
    """Memory of one method's networks; works inside `remembering` only.

    Attributes:
        method: whose encoder, teachers and heads are watched.
    """

    method: Method
    _shown: dict[int, _Shown] = field(default_factory=dict, init=False)
    _made: dict[tuple[int, int], Tensor] = field(default_factory=dict, init=False)

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Watch the method's networks for the duration, then forget."""
        watched = [
            (network, verb)
            for network in self._networks()
            for verb in VERBS
            if hasattr(network, verb)
        ]
        before = [
            vars(network).get(verb) for network, verb in watched
        ]  # another wrapper may be watching already
        for network, verb in watched:
            own = self._together if verb == "together" else self._once
            setattr(network, verb, partial(own, network, getattr(network, verb)))
        try:
            yield
        finally:
            for (network, verb), other in zip(watched, before, strict=True):
                delattr(network, verb)  # the instance's; the class's own shows again
                if other is not None:
                    setattr(network, verb, other)
            self._shown.clear()
            self._made.clear()

    def show(
        self, images: Tensor, *, is_adversarial: bool, stands_for: Tensor | None = None
    ) -> Tensor:
        """A view as a look gets it.

        Args:
            images: of shape (batch, 3, height, width).
            is_adversarial: goes through the twins of split batch norms.
            stands_for: a view of equal pixels in the same norm set; what networks make of that one,
                without gradient, serves for this one.
        """
        view = images if stands_for is None else images.detach()
        self._shown[id(view)] = _Shown(view, is_adversarial, stands_for)
        return view

    def require_seen(self, view: Tensor, *, name: str) -> None:
        """Refuse a method that copied a view before any network saw it.

        Raises:
            ConfigError: the view would have gone through the wrong norms, unnoticed.
        """
        if not any(key[1] == id(view) for key in self._made):
            raise ConfigError(
                f"{name}: no network of {type(self.method).__name__} was handed the attacked "
                "view itself; "
                "a method that others wrap calls encoder(view) or encoder.together(views) "
                "with the views as it got them"
            )

    def _networks(self) -> list[nn.Module]:
        children = list(innermost(self.method).children())
        return [
            child
            for child in children
            if child is self.method.encoder or isinstance(child, Teacher) or has_batch_norm(child)
        ]

    def _once(
        self, network: nn.Module, original: Forward, images: Tensor, **options: Any
    ) -> Tensor:
        shown = self._shown.get(id(images))
        if (
            shown is None
        ):  # a part of a call that is watched already, or images that no wrapper has shown: clean ones
            return original(images, **options)
        if shown.stands_for is not None:
            made = self._once(network, original, shown.stands_for, **options)
            return self.show(made, is_adversarial=shown.is_adversarial, stands_for=made)
        place = (id(network), id(images))
        if place not in self._made:
            with adversarial_norms(network) if shown.is_adversarial else nullcontext():
                made = original(images, **options)
            self._made[place] = self.show(made, is_adversarial=shown.is_adversarial)
        return self._made[place]

    def _together(
        self, network: nn.Module, original: Together, views: Sequence[Tensor]
    ) -> list[Tensor]:
        """Views of one norm set go through at once, as in `Encoder.together`."""
        for view in views:
            if id(view) not in self._shown:
                self.show(view, is_adversarial=False)
        for is_adversarial in (False, True):
            new = [
                shown.tensor
                for shown in map(self._source, views)
                if shown.is_adversarial == is_adversarial
            ]
            new = [view for view in dict.fromkeys(new) if (id(network), id(view)) not in self._made]
            if new:
                with adversarial_norms(network) if is_adversarial else nullcontext():
                    made = original(new)
                for view, embeddings in zip(new, made, strict=True):
                    self._made[id(network), id(view)] = self.show(
                        embeddings, is_adversarial=is_adversarial
                    )
        return [self._once(network, network, view) for view in views]

    def _source(self, view: Tensor) -> _Shown:
        """The view itself, or the one that it stands for."""
        shown = self._shown[id(view)]
        return shown if shown.stands_for is None else self._shown[id(shown.stands_for)]
