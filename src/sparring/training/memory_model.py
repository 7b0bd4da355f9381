"""Memory of a step as a linear function of its batch."""

from dataclasses import dataclass

MARGIN = 1.15
"""Factor on a batch's predicted memory that must be free for the batch to fit: predictions aim to
be within 15 %."""


@dataclass(frozen=True)
class MemoryModel:
    """Memory as a linear function of the batch size.

    Attributes:
        constant: bytes that any batch takes.
        per_image: bytes that each image adds.
        floor: bytes taken regardless of the batch size, such as by a monitor pass.
    """

    constant: float
    per_image: float
    floor: float = 0.0

    def at(self, batch_size: int) -> float:
        """Bytes at this batch size."""
        return max(self.constant + self.per_image * batch_size, self.floor)

    def largest(self, room: float, *, limit: int) -> int:
        """Largest batch, at most `limit`, that fits into `room` bytes with the margin.

        0 if fewer than two images fit.
        """
        room = room / MARGIN
        if self.floor > room:
            return 0
        found = limit if not self.per_image else int((room - self.constant) // self.per_image)
        return 0 if found < 2 else min(found, limit)

    def image_size(self, room: float, *, batch_size: int, size: int) -> int:
        """Approximate side of the images, a multiple of 8, at which this batch fits; 0 if none.

        Assumes that the memory of an image is proportional to its area.
        """
        share = (
            (room / MARGIN - self.constant) / (self.per_image * batch_size)
            if self.per_image
            else 0.0
        )
        return 0 if share <= 0 else int(size * min(share, 1.0) ** 0.5) // 8 * 8


def line_through(smaller: tuple[int, float], larger: tuple[int, float]) -> MemoryModel:
    """Memory model through two measurements, each a batch size and its bytes."""
    (few, low), (many, high) = smaller, larger
    per_image = max(0.0, (high - low) / (many - few))
    return MemoryModel(high - per_image * many, per_image)
