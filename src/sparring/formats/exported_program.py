"""Encoders as files of `torch.export`, which PyTorch loads without this library."""

import io
import json
from collections.abc import Mapping

import torch

from sparring.errors import SparringError
from sparring.formats.feature_network import (
    CHECKED_BATCHES,
    TOLERANCE,
    FeatureNetwork,
    largest_difference,
    quiet,
    traced,
)

FACTS = "sparring.json"
"""File within the archive that says what the program is of; `extra_files` of `torch.export.load`
reads it."""


def exported_program(
    network: FeatureNetwork, *, image_size: int, has_dynamic_size: bool, facts: Mapping[str, str]
) -> tuple[bytes, float]:
    """File of a network from images in [0, 1] to features, and its largest difference to PyTorch.

    The file is loaded again and compared, over several numbers of images.

    Args:
        network: what to write.
        image_size: side of the images in pixels.
        has_dynamic_size: whether height and width are open too.
        facts: what the file says of itself, under `FACTS`.

    Raises:
        ConfigError: if the network cannot be traced.
        SparringError: if the loaded program differs by more than `TOLERANCE`.
    """
    program = traced(network, image_size=image_size, has_dynamic_size=has_dynamic_size)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    file = io.BytesIO()
    with quiet():
        torch.export.save(program, file, extra_files={FACTS: json.dumps(dict(facts))})
        file.seek(0)
        loaded = torch.export.load(file).module()
    draws, worst = torch.Generator().manual_seed(0), 0.0
    for count in CHECKED_BATCHES:
        sides = (96, 64) if has_dynamic_size else (image_size, image_size)
        images = torch.rand(count, network.mean.shape[1], *sides, generator=draws)
        with torch.no_grad():
            worst = max(worst, largest_difference(loaded(images), network(images)))
    if not worst <= TOLERANCE:
        raise SparringError(
            f"the program's features differ from PyTorch's by {worst:.1e}, more than "
            f"{TOLERANCE:g}; nothing was written: use --format safetensors"
        )
    return file.getvalue(), worst
