"""Files that hold an encoder as a program: ONNX and `torch.export`, and the lines that run them."""

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from sparring.errors import ConfigError
from sparring.files import write_atomically
from sparring.formats.exported_program import exported_program
from sparring.formats.feature_network import CHECKED_BATCHES, SIZE_STEP, FeatureNetwork
from sparring.formats.model_card import ExportedRun
from sparring.formats.onnx_model import OPSET, checked_difference, onnx_model, require_onnx
from sparring.formats.onnx_precision import FEWEST_IMAGES, Likeness, likeness, quantised
from sparring.formats.options import ExportOptions
from sparring.formats.settings_shown import scaling

MOST_IMAGES = 256
"""Most images by which a smaller precision is made and compared: half of them each for int8."""
Images = Callable[[int], Float[Tensor, "images bands height width"]]
"""Gives up to so many images in [0, 1]."""


def write_onnx(run: ExportedRun, out: Path, options: ExportOptions, images: Images) -> str:
    """Write an ONNX model that ONNX Runtime was tried with; returns the lines that run it.

    Args:
        run: what is exported.
        out: file to write.
        options: precision, and whether height and width are open.
        images: called for a precision other than float32.

    Raises:
        ConfigError: if a package is missing, the network cannot be written, or there are too few
            images.
        SparringError: if the float32 model's features differ from PyTorch's.
        StorageError: if the file cannot be written.
    """
    require_onnx()
    sample = images(MOST_IMAGES) if options.precision != "float32" else None
    if sample is not None and len(sample) < FEWEST_IMAGES:
        raise ConfigError(
            f"--precision {options.precision} is compared with float32 on {FEWEST_IMAGES} images "
            f"at least, and there are {len(sample)}; give more by --data PATH"
        )
    size, facts = run.config.image_size, {**run.facts(), "precision": options.precision}
    network = FeatureNetwork(run.encoder)
    content = onnx_model(
        network, image_size=size, has_dynamic_size=options.dynamic_size, facts=facts
    )
    difference = checked_difference(
        content, network, image_size=size, has_dynamic_size=options.dynamic_size
    )
    notes = [f"# in float32, {_checked('ONNX Runtime', difference)}"]
    if sample is not None:
        content, note = _smaller(run, content, options, sample, facts)
        notes.append(note)
    write_atomically(out, content)
    return "\n".join(
        [
            "import onnxruntime",
            f"session = onnxruntime.InferenceSession({str(out)!r})",
            '# features = session.run(None, {"images": images})[0]',
            _input_note(run, options),
            f"# {megabytes(len(content))}, opset {OPSET}, {options.precision}",
            *notes,
        ]
    )


def write_program(run: ExportedRun, out: Path, options: ExportOptions) -> str:
    """Write a program of `torch.export` that was loaded again; returns the lines that run it.

    Raises:
        ConfigError: if the network cannot be traced.
        SparringError: if the program's features differ from the encoder's.
        StorageError: if the file cannot be written.
    """
    content, difference = exported_program(
        FeatureNetwork(run.encoder),
        image_size=run.config.image_size,
        has_dynamic_size=options.dynamic_size,
        facts=run.facts(),
    )
    write_atomically(out, content)
    return "\n".join(
        [
            "import torch",
            f"model = torch.export.load({str(out)!r}).module()",
            "# features = model(images)",
            _input_note(run, options),
            f"# {megabytes(len(content))}, float32",
            f"# {_checked('PyTorch', difference)}",
        ]
    )


def megabytes(size: int) -> str:
    """Size in bytes as text.

    Example:
        >>> megabytes(816_133)
        '0.82 MB'
    """
    return f"{size / 1e6:.{2 if size < 1e7 else 0}f} MB"


def _smaller(
    run: ExportedRun,
    content: bytes,
    options: ExportOptions,
    images: Tensor,
    facts: dict[str, str],
) -> tuple[bytes, str]:
    """A smaller model, and a line that says what was lost."""
    if options.precision == "int8":
        # Images come in the order of the set, often class by class: every second one of it.
        smaller, how = quantised(content, images[::2])
        compared = images[1::2]
    else:
        network = FeatureNetwork(run.encoder, precision=torch.float16)
        smaller, how = (
            onnx_model(
                network,
                image_size=run.config.image_size,
                has_dynamic_size=options.dynamic_size,
                facts=facts,
            ),
            "weights and features between the layers; input and output are float32",
        )
        compared = images
    with torch.no_grad():
        wanted = torch.cat(
            [FeatureNetwork(run.encoder)(part) for part in torch.split(compared, 64)]
        )
    like = likeness(smaller, compared, wanted)
    return smaller, _lost(options.precision, how, len(content), like)


def _lost(precision: str, how: str, size: int, like: Likeness) -> str:
    return (
        f"# {precision} ({how}): float32 takes {megabytes(size)}; cosine similarity to its "
        f"features, less their mean, on {like.images} real images: mean {like.mean:.4f}, worst "
        f"{like.worst:.4f}"
    )


def _checked(who: str, difference: float) -> str:
    batches = ", ".join(map(str, CHECKED_BATCHES[:-1]))
    return (
        f"checked by {who} with {batches} and {CHECKED_BATCHES[-1]} images: largest difference "
        f"to the encoder {difference:.2g}"
    )


def _input_note(run: ExportedRun, options: ExportOptions) -> str:
    config = run.config
    size = "height, width" if options.dynamic_size else f"{config.image_size}, {config.image_size}"
    given = config.data.given_range
    before = "" if given is None else f" ({scaling(given)})"
    steps = (
        f"; height and width are multiples of {SIZE_STEP}"
        if options.dynamic_size and options.form == "torch-export"
        else ""
    )
    return (
        f"# images: float32 (batch, {config.data.channels}, {size}) in [0, 1]{before}{steps}; "
        "normalisation is inside"
    )
