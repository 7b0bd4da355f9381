"""Lines of a model card that load the weights: by timm, by PyTorch, and by this library."""

from sparring.formats.timm_folder import EXACT, WEIGHTS
from sparring.formats.timm_networks import is_widened, timm_lines
from sparring.models.backbones import CUSTOM
from sparring.models.encoder import Encoder
from sparring.models.resnets import is_resnet
from sparring.training.settings import RunConfig

NAME = "USER/NAME"
"""Stands for the name on the Hub, which is known once the folder is there."""
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def snippets(encoder: Encoder, config: RunConfig, *, obstacle: str, torch_file: str) -> str:
    """Sections that load the weights in every way that works.

    Args:
        encoder: of the run.
        config: configuration of the run.
        obstacle: why timm cannot load the folder by its name; empty if it can.
        torch_file: file of `torch.export` in the folder; empty if there is none.
    """
    parts = [_by_name(config)] if not obstacle else []
    if obstacle:
        parts.append(f"`timm.create_model` cannot load this folder by its name: {obstacle}.")
    if torch_file:
        parts.append(_by_program(config, torch_file))
    has_exact = not obstacle and is_widened(encoder, config)
    if obstacle or has_exact:
        parts.append(_by_lines(encoder, config, has_exact=has_exact))
    return "\n\n".join([*parts, _by_sparring(config, EXACT if has_exact else WEIGHTS)])


def _by_name(config: RunConfig) -> str:
    # Values in a range of one's own are not those that timm's transform divides by 255.
    mode = _MODES.get(config.data.channels) if config.data.given_range is None else None
    head = (
        "With [timm](https://github.com/huggingface/pytorch-image-models), which needs no other "
        "library. timm's networks do not normalise; its transform does, with the mean and the "
        "standard deviation of `config.json`:"
    )
    create = f'model = timm.create_model("hf-hub:{NAME}", pretrained=True).eval()'
    if mode is None:
        lines = [
            "import timm, torch",
            create,
            "cfg = model.pretrained_cfg",
            'mean, std = (torch.tensor(cfg[key])[:, None, None] for key in ("mean", "std"))',
            f"images = torch.rand(8, {_shape(config)})  # yours, scaled to [0, 1]",
            "with torch.inference_mode():",
            "    features = model((images - mean) / std)",
        ]
    else:
        lines = [
            "import timm, torch",
            "from PIL import Image, ImageOps",
            "from timm.data import create_transform, resolve_model_data_config",
            create,
            "transform = create_transform(**resolve_model_data_config(model), is_training=False)",
            f'image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("{mode}")',
            "with torch.inference_mode():",
            "    features = model(transform(image)[None])",
        ]
    note = (
        "Images were upright in training, and transparent ones lay on white. "
        f"`local-dir:FOLDER` instead of `hf-hub:{NAME}` loads a downloaded folder. "
        "`num_classes=10` adds a classifier for fine-tuning."
    )
    return "\n".join([head, "", _code(lines), "", note])


def _by_program(config: RunConfig, torch_file: str) -> str:
    lines = [
        "import torch",
        f'model = torch.export.load("{torch_file}").module()',
        f"images = torch.rand(8, {_shape(config)})  # in [0, 1]; the program normalises them",
        "with torch.inference_mode():",
        "    features = model(images)",
    ]
    return "\n".join(
        [
            f"With PyTorch alone (`{torch_file}`; it computes features, and cannot be trained):",
            "",
            _code(lines),
        ]
    )


def _by_lines(encoder: Encoder, config: RunConfig, *, has_exact: bool) -> str:
    """The exact network, to be trained further."""
    file = EXACT if has_exact else WEIGHTS
    what = (
        "timm's ResNets have a stem of 64 channels: those that this narrower network lacks are "
        "zeros, and a shortcut is an identity. The features are the same. In training mode they "
        "would not be, since batch norms act on both; fine-tune the network as it was trained:"
        if has_exact
        else "The network, to be trained further; images are normalised before it:"
    )
    mean, std = config.encoder.normalisation(config.data.channels)
    lines = [
        *timm_lines(encoder, config).rstrip().splitlines(),
        "from safetensors.torch import load_file",
        f'model.load_state_dict(load_file("{file}"))',
        f"# takes images in [0, 1] minus {mean}, divided by {std}, per channel",
    ]
    return "\n".join([what, "", _code(lines)])


def _by_sparring(config: RunConfig, file: str) -> str:
    if config.encoder.backbone.startswith(CUSTOM):
        return "With sparring, hand your network over as `backbone=`."
    wanted = [f"encoder.backbone={config.encoder.backbone}"]
    if config.encoder.width != 1:
        wanted.append(f"encoder.width={config.encoder.width:g}")
    if is_resnet(config.encoder.backbone) and config.encoder.small_images is not None:
        wanted.append(f"encoder.small_images={str(config.encoder.small_images).lower()}")
    wanted += [
        f"encoder.{name}={value}"
        for name in ("patch_size", "depth", "heads")
        if (value := getattr(config.encoder, name)) is not None
    ]
    sets = [f"--set {one}" for one in [*wanted, f"encoder.weights={file}"]]
    train = f"sparring train --data photos/ --out runs/further --image-size {config.image_size}"
    command = " \\\n  ".join([train, *sets])
    return "\n".join(
        [
            "With sparring, pretraining goes on from these weights:",
            "",
            f"```sh\n{command}\n```",
        ]
    )


def _shape(config: RunConfig) -> str:
    return f"{config.data.channels}, {config.image_size}, {config.image_size}"


def _code(lines: list[str]) -> str:
    return "\n".join(["```python", *lines, "```"])
