"""Gradients of a player's parameters, averaged over processes while the backward pass runs.

Parameters are shared out to buckets in the reverse of their order, which is about the order in
which their gradients are ready. Each bucket is exchanged as soon as it and all buckets before it
are complete, so every process starts the same exchanges in the same order, and the same run gives
the same sums. This is what `DistributedDataParallel` does for one model and one loss; it does not
fit several players and several forward passes in a step.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparring import distributed

BUCKET_BYTES = 25 * 2**20
"""Size from which on a bucket is exchanged, as in PyTorch's `DistributedDataParallel`."""


def averaged_gradients(
    loss: Float[Tensor, ""], parameters: Sequence[nn.Parameter]
) -> tuple[list[Tensor], Float[Tensor, ""]]:
    """Gradient of each parameter, and the loss, both averaged over processes.

    No gradient is left at any parameter. A parameter that the loss does not depend on has a
    gradient of zeros.

    Args:
        loss: loss as a mean over the rows of this process; its graph is freed.
        parameters: parameters of one player, in the same order on every process.
    """
    mean_loss = loss.detach().clone()
    if distributed.num_processes() > 1:
        return _averaged_during_backward(loss, parameters, mean_loss), mean_loss
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return list(found), mean_loss


def _averaged_during_backward(
    loss: Tensor, parameters: Sequence[nn.Parameter], mean_loss: Tensor
) -> list[Tensor]:
    """Averaged gradients; the loss is averaged in place, in the first bucket."""
    exchange = _Exchange(parameters, mean_loss)
    with _no_gradients(parameters), ExitStack() as hooks:
        for place, parameter in enumerate(parameters):
            complete = partial(exchange.complete, place)
            hook = parameter.register_post_accumulate_grad_hook(complete)  # type: ignore[no-untyped-call]
            hooks.callback(hook.remove)
        loss.backward(inputs=list(parameters))  # type: ignore[no-untyped-call]
        return exchange.result()


@contextmanager
def _no_gradients(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Context that starts without gradients at the parameters and leaves those that were there."""
    before = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in zip(parameters, before, strict=True):
            parameter.grad = gradient


class _Exchange:
    """Exchange of the gradients of one backward pass, bucket after bucket.

    Args:
        parameters: parameters of one player.
        mean_loss: loss of this process, which becomes its mean over processes.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], mean_loss: Tensor) -> None:
        self._parameters, self._loss = parameters, mean_loss
        self._buckets = buckets(parameters)
        self._bucket_of = {
            place: number for number, bucket in enumerate(self._buckets) for place in bucket
        }
        self._missing = [set(bucket) for bucket in self._buckets]
        self._gradients: dict[int, Tensor] = {}
        self._means: list[distributed.Mean] = []

    def complete(self, place: int, _: Tensor) -> None:
        """Note that a parameter has its gradient, and start the buckets whose turn it is."""
        self._missing[self._bucket_of[place]].discard(place)
        while len(self._means) < len(self._buckets) and not self._missing[len(self._means)]:
            self._start_next()

    def result(self) -> list[Tensor]:
        """Averaged gradients in the order of the parameters, after the backward pass."""
        while len(self._means) < len(self._buckets):
            self._start_next()
        for mean in self._means:
            mean.write()
        if not self._has_loss:
            distributed.average([self._loss])
        return [self._gradients[place] for place in range(len(self._parameters))]

    @property
    def _has_loss(self) -> bool:
        """Whether the loss fits the data type of the first bucket."""
        return self._parameters[self._buckets[0][0]].dtype == self._loss.dtype

    def _start_next(self) -> None:
        bucket = self._buckets[len(self._means)]
        for place in bucket:
            parameter = self._parameters[place]
            own = parameter.grad  # without one, the loss does not depend on the parameter
            self._gradients[place] = torch.zeros_like(parameter) if own is None else own
        tensors = [self._gradients[place] for place in bucket]
        if not self._means and self._has_loss:
            tensors.append(self._loss)
        self._means.append(distributed.Mean(tensors))


def buckets(parameters: Sequence[Tensor]) -> list[list[int]]:
    """Positions of the parameters of each bucket, from the last parameter to the first.

    A bucket ends with the parameter that fills `BUCKET_BYTES`, or before one of another data type.
    """
    found: list[list[int]] = []
    num_bytes, dtype = BUCKET_BYTES, None
    for place in reversed(range(len(parameters))):
        parameter = parameters[place]
        if num_bytes >= BUCKET_BYTES or parameter.dtype != dtype:
            found.append([])
            num_bytes, dtype = 0, parameter.dtype
        found[-1].append(place)
        num_bytes += parameter.numel() * parameter.element_size()
    return found
