"""The queue: past keys as negatives, first in, first out. It is the baseline for learned banks."""

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from sparring.config import Settings
from sparring.transfers import rare_read, sent


class QueueSettings(Settings):
    """Size of a queue."""

    size: int = Field(default=4096, ge=1)
    """Number of past keys; 65,536 on ImageNet."""
    key_views: Literal["all", "one"] = "all"
    """Keys of an image that the queue takes in at a step: `all` that the step encodes, two if both
    views are queries, or `one`, as the banks do."""


class Queue(nn.Module):
    """Queue of the last `size` keys of all processes; random directions until it is full.

    Args:
        size: number of keys.
        dim: size of an embedding.
        generator: source of the initial directions.

    Source: He et al. 2020, arXiv:1911.05722, section 3.2.
    """

    keys: Tensor

    def __init__(self, size: int, dim: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer(
            "keys", nn.functional.normalize(torch.randn(size, dim, generator=generator), dim=1)
        )
        self.next_row = 0

    @torch.no_grad()
    def enqueue(self, keys: Float[Tensor, "batch dim"]) -> Int[Tensor, "written"]:
        """Replace the oldest rows by these keys; if there are more keys than rows, keep the last.

        Returns:
            Rows that the kept keys were written to, in their order; on the CPU.
        """
        size = len(self.keys)
        keys = keys[-size:]
        rows = (self.next_row + torch.arange(len(keys))) % size
        self.keys[sent(rows, keys.device)] = keys
        self.next_row = (self.next_row + len(keys)) % size
        return rows

    def get_extra_state(self) -> dict[str, Any]:
        """Position of the next row to replace, for the checkpoint."""
        return {"next_row": self.next_row}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Continue from `get_extra_state`'s value."""
        self.next_row = int(state["next_row"])


class NumberedQueue(nn.Module):
    """Queue that stores the image number of each key.

    Args:
        size: number of keys.
        dim: size of an embedding.
        generator: source of the initial directions.
    """

    images: Tensor
    """Image number of each key; -1 in rows that hold no key yet."""

    def __init__(self, size: int, dim: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.queue = Queue(size, dim, generator=generator)
        self.register_buffer("images", torch.full((size,), -1))
        self._known: Tensor | None = None
        """`images` on the CPU, so that no step reads the device; None: not read yet."""
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    @property
    def keys(self) -> Float[Tensor, "size dim"]:
        """All rows, (size, dim)."""
        return self.queue.keys

    def filled(self) -> tuple[Float[Tensor, "filled dim"], Int[Tensor, "filled"]]:
        """Keys in the queue and their image numbers, these on the CPU; only the filled rows until
        the queue is full."""
        images = self._images_on_cpu()
        count = int((images >= 0).sum())
        return self.keys[:count], images[:count]

    @torch.no_grad()
    def enqueue(self, keys: Float[Tensor, "batch dim"], images: Int[Tensor, "batch"]) -> None:
        """Replace the oldest rows by these keys and their image numbers.

        Args:
            keys: keys of all processes.
            images: image number of each key, on the CPU.
        """
        known, rows = self._images_on_cpu(), self.queue.enqueue(keys)
        images, device = images[-len(rows) :], self.images.device
        self.images[sent(rows, device)] = sent(images, device)
        if known is not self.images:
            known[rows] = images

    def start_over(self, images: object, *, is_other: bool) -> bool:
        """Empty the queue before a run on other images, whose numbers are not those of its keys;
        returns whether it held any."""
        if not is_other or not len(self.filled()[1]):
            return False
        self.images.fill_(-1)
        self.queue.next_row, self._known = 0, None
        return True

    def _images_on_cpu(self) -> Tensor:
        if self._known is None:
            with rare_read():  # once per run
                self._known = self.images.cpu()
        return self._known


def _forget(queue: nn.Module, _: object) -> None:
    """Let a queue read its image numbers again, after others are loaded."""
    assert isinstance(queue, NumberedQueue)
    queue._known = None
