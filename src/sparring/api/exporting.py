"""The public function that writes a run's encoder for other libraries."""

from functools import partial
from pathlib import Path

from torch import nn

from sparring.api.common import Run, folder_of, heard_by
from sparring.data.sources.source import ImageData
from sparring.files import refuse_folders
from sparring.formats.hub_folder import require_new, write_hub_folder
from sparring.formats.model_card import NO_LICENCE, ExportedRun
from sparring.formats.options import ExportOptions
from sparring.formats.program_files import write_onnx, write_program
from sparring.formats.sample_images import sample_images
from sparring.formats.weights import export_weights
from sparring.training.encoders import encoder_and_step
from sparring.training.listener import Listener
from sparring.training.scores import read_scores


def export(
    run: str | Path | Run,
    *,
    out: str | Path,
    form: str = "timm",
    precision: str = "float32",
    dynamic_size: bool = False,
    data: ImageData | None = None,
    licence: str = NO_LICENCE,
    backbone: nn.Module | None = None,
    listener: Listener | None = None,
    progress: bool = True,
) -> str:
    """Write a run's encoder for another library; returns the Python lines that load it.

    Comments among the lines say what was checked: programs and folders are loaded by the library
    that they are for, and their features compared with the encoder's.

    Args:
        run: run folder.
        out: file to write; for `hub` a folder, which must be missing or empty.
        form: `timm`, `torchvision`, `safetensors` (weights of the backbone), `onnx`,
            `torch-export` (a program from images in [0, 1] to features), or `hub` (a folder that
            timm loads and `hf upload` uploads).
        precision: of an ONNX file: `float32`, `float16` or `int8`.
        dynamic_size: whether an ONNX file or a program takes images of other heights and widths.
        data: images by which a smaller precision is made and compared; default: the run's own.
        licence: of the weights, for the card of `hub`, such as `apache-2.0`.
        backbone: the network of your own with which the run was trained, if any.
        listener: told if the last checkpoint is damaged and an earlier one is written; None: it is
            told on standard error.
        progress: False shows nothing there; it is a warning then.

    Raises:
        CheckpointError: if there is no checkpoint, or its encoder is not finite.
        ConfigError: for an unknown name, options that do not go together, or a network that the
            format cannot hold.
    """
    options = ExportOptions(
        form=form,
        precision=precision,
        dynamic_size=dynamic_size,
        licence=licence,
        has_data=data is not None,
    )
    folder, out = folder_of(run), Path(out)
    if form == "hub":
        require_new(out)
    else:
        refuse_folders(out)
    with heard_by(listener, progress=progress) as heard:
        tell = None if heard is None else heard.report
        encoder, step = encoder_and_step(folder, backbone=backbone, report=tell)
        config = folder.read_config()
        exported = ExportedRun(
            name=folder.path.resolve().name,
            encoder=encoder,
            config=config,
            step=step,
            environment=folder.read_environment(),
            scores=read_scores(folder),
        )
        match form:
            case "onnx":
                images = partial(sample_images, config, data, report=tell)
                return write_onnx(exported, out, options, images)
            case "torch-export":
                return write_program(exported, out, options)
            case "hub":
                return write_hub_folder(exported, out, licence=licence)
            case _:
                return export_weights(encoder, config, form=form, out=out)
