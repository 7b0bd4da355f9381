"""Smaller ONNX models: float16 and int8, and how far their features are from float32."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from sparring.errors import ConfigError
from sparring.formats.feature_network import quiet
from sparring.formats.onnx_model import INPUT, runtime_features

PRECISIONS = ("float32", "float16", "int8")
"""Precisions of an ONNX model."""
FEWEST_IMAGES = 8
"""Fewest images by which a model is quantised or compared."""
_CALIBRATION_BATCH = 16


@dataclass(frozen=True)
class Likeness:
    """How like the features of a smaller model are to those in float32.

    Attributes:
        images: number of images that were compared.
        mean: mean cosine similarity of an image's features in both, after the mean over the images
            is subtracted from each.
        worst: smallest one.
    """

    images: int
    mean: float
    worst: float


def likeness(
    content: bytes,
    images: Float[Tensor, "batch bands height width"],
    wanted: Float[Tensor, "batch channels"],
) -> Likeness:
    """How like a model's features of images in [0, 1] are to the wanted ones.

    The mean over the images is subtracted from both: features have a large part in common, which
    would make any two of them look alike.

    Raises:
        ConfigError: if a feature is not finite, which happens where float16 is too small.
    """
    found = runtime_features(content, images)
    if not found.isfinite().all():
        raise ConfigError(
            "the features of this precision are not finite: numbers in the network are too large "
            "for it; use --precision float32"
        )
    centre = wanted.mean(dim=0)
    found, wanted = (rows - centre for rows in (found, wanted))
    similarity = cosine_similarity(found, wanted, dim=1)
    return Likeness(len(images), float(similarity.mean()), float(similarity.min()))


def is_mostly_convolutions(content: bytes) -> bool:
    """Whether more weights of an ONNX model belong to convolutions than to matrix products."""
    import onnx

    graph = onnx.load_from_string(content).graph
    sizes = {one.name: _count(one.dims) for one in graph.initializer}
    weights = dict.fromkeys(("Conv", "MatMul", "Gemm"), 0)
    for node in graph.node:
        if node.op_type in weights:
            weights[node.op_type] += sum(sizes.get(name, 0) for name in node.input)
    return weights["Conv"] > weights["MatMul"] + weights["Gemm"]


def quantised(
    content: bytes, images: Float[Tensor, "batch bands height width"]
) -> tuple[bytes, str]:
    """A model with weights of 8 bits, and how it was made.

    Networks of convolutions: weights per channel and activations, whose ranges are those seen with
    the images (static, QDQ). Others, such as transformers: weights of matrix products; activations
    are quantised with the range of each batch (dynamic).

    Args:
        content: float32 model.
        images: calibration images in [0, 1].
    """
    from onnxruntime import quantization

    with TemporaryDirectory() as folder, quiet():
        source, result = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        source.write_bytes(content)
        if is_mostly_convolutions(content):
            quantization.quantize_static(
                source,
                result,
                _calibration(images),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
            how = f"static, calibrated on {len(images)} images"
        else:
            quantization.quantize_dynamic(
                source,
                result,
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                weight_type=quantization.QuantType.QInt8,
            )
            how = "dynamic: weights of the matrix products"
        return result.read_bytes(), how


def _calibration(images: Tensor) -> Any:
    """ONNX Runtime's reader of calibration images."""
    from onnxruntime.quantization import CalibrationDataReader

    class Batches(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter(torch.split(images, _CALIBRATION_BATCH))

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch.numpy()}

    return Batches()


def _count(dims: Any) -> int:
    return int(torch.Size(dims).numel())
