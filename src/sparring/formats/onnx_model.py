"""ONNX models of encoders: written by PyTorch's exporter, and checked by ONNX Runtime."""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sparring.errors import ConfigError, SparringError
from sparring.formats.feature_network import (
    CHECKED_BATCHES,
    TOLERANCE,
    FeatureNetwork,
    largest_difference,
    quiet,
    traced,
)

OPSET = 18
"""Version of the operators: that of PyTorch's exporter, read by ONNX Runtime 1.14 and newer."""
INPUT, OUTPUT = "images", "features"
_MOST_BYTES = 2**31 - 2**20
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """Raise an error if a package of the extra `onnx` is missing: a model that ONNX Runtime has not
    checked is not written."""
    for name in _PACKAGES:
        try:
            import_module(name)
        except ImportError:
            raise ConfigError(
                f"ONNX needs the package {name}; pip install 'sparring[onnx]'"
            ) from None


def onnx_model(
    network: FeatureNetwork, *, image_size: int, has_dynamic_size: bool, facts: Mapping[str, str]
) -> bytes:
    """ONNX model of a network from images in [0, 1] to features, with an open number of images.

    Args:
        network: what to write.
        image_size: side of the images in pixels.
        has_dynamic_size: whether height and width are open too.
        facts: what the model says of itself (`metadata_props`).

    Raises:
        ConfigError: if the network cannot be written as ONNX, or takes more than 2 GB.
    """
    require_onnx()
    size = sum(one.numel() * one.element_size() for one in network.state_dict().values())
    if size > _MOST_BYTES:
        raise ConfigError(
            f"an ONNX file holds at most 2 GB, and these weights take {size / 1e9:.1f}; use "
            "--format torch-export"
        )
    program = traced(network, image_size=image_size, has_dynamic_size=has_dynamic_size)
    try:
        with quiet():
            written: Any = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # whatever the exporter raises for an operator that ONNX lacks
        reason = str(error).strip().splitlines()[:1]
        raise ConfigError(
            f"this network cannot be written as ONNX ({type(error).__name__}: "
            f"{''.join(reason)[:200]}); use --format torch-export"
        ) from error
    return _described(written.model_proto, facts, has_dynamic_size=has_dynamic_size)


def _described(model: Any, facts: Mapping[str, str], *, has_dynamic_size: bool) -> bytes:
    """The model with names of its open sizes, and with facts in place of the exporter's notes."""
    import onnx

    open_sizes = {0: "batch", 2: "height", 3: "width"} if has_dynamic_size else {0: "batch"}
    for values, names in ((model.graph.input, open_sizes), (model.graph.output, {0: "batch"})):
        for place, name in names.items():
            values[0].type.tensor_type.shape.dim[place].dim_param = name
    del model.graph.value_info[:]  # inferred again by whoever reads it, under these names
    model.producer_name, model.producer_version = "sparring", version("sparring")
    for node in model.graph.node:
        del node.metadata_props[:]  # stack traces, with the paths of this machine
    del model.metadata_props[:], model.graph.metadata_props[:]
    onnx.helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def runtime_features(
    content: bytes, images: Float[Tensor, "batch bands height width"]
) -> Float[Tensor, "batch channels"]:
    """Features that ONNX Runtime computes of images in [0, 1], on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: it warns of harmless leftovers
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    parts = [
        torch.from_numpy(session.run(None, {INPUT: part.numpy()})[0])
        for part in torch.split(images, 64)
    ]
    return torch.cat(parts)


def checked_difference(
    content: bytes, network: FeatureNetwork, *, image_size: int, has_dynamic_size: bool
) -> float:
    """Largest difference of ONNX Runtime's features to PyTorch's, over several numbers of images.

    With open sizes, images of another height and width are tried too.

    Raises:
        SparringError: if it is larger than `TOLERANCE`.
    """
    draws, channels = torch.Generator().manual_seed(0), network.mean.shape[1]
    sizes = [(image_size, image_size)]
    sizes += [(image_size + 32, 2 * image_size + 5)] if has_dynamic_size else []
    worst = 0.0
    for height, width in sizes:
        for count in CHECKED_BATCHES:
            images = torch.rand(count, channels, height, width, generator=draws)
            with torch.no_grad():
                wanted = network(images)
            worst = max(worst, largest_difference(runtime_features(content, images), wanted))
    if not worst <= TOLERANCE:
        raise SparringError(
            f"ONNX Runtime's features differ from PyTorch's by {worst:.1e}, more than "
            f"{TOLERANCE:g}; nothing was written: use --format torch-export"
        )
    return worst
