"""Encoders of a run folder, rebuilt without its method."""

from copy import deepcopy

from torch import nn

from sparring.errors import CheckpointError
from sparring.models.encoder import Encoder
from sparring.training.build import build_encoder
from sparring.training.checkpoint import encoder_state, read_checkpoint
from sparring.training.run_folder import RunFolder


def load_encoders(
    folder: RunFolder, *, backbone: nn.Module | None = None, device: str = "cpu"
) -> tuple[Encoder, Encoder]:
    """Trained encoder of a run, and the untrained one from which it started.

    See `encoders_and_step`.
    """
    return encoders_and_step(folder, backbone=backbone, device=device)[:2]


def encoders_and_step(
    folder: RunFolder, *, backbone: nn.Module | None = None, device: str = "cpu"
) -> tuple[Encoder, Encoder, int]:
    """Trained encoder of a run, the untrained one from which it started, and the number of steps
    that the trained one has learned.

    Both are in evaluation mode and require no gradients. No class of the method is needed, and no
    code that the run folder names is imported.

    Args:
        folder: run folder; an unfinished run gives the encoder of its last checkpoint.
        backbone: your own network with which the run was trained, if any.
        device: device of both encoders.

    Raises:
        CheckpointError: if there is no checkpoint, or it does not fit the configuration.
    """
    config = folder.read_config()
    config = config.changed(training={"device": device, "sync_batch_norm": False})
    trained, untrained = (build_encoder(config, deepcopy(backbone)) for _ in range(2))
    content = read_checkpoint(folder.checkpoint)
    try:
        trained.load_state_dict(encoder_state(content))
    except RuntimeError as error:
        # PyTorch names the tensor in the second line.
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise CheckpointError(
            f"the checkpoint {folder.checkpoint} does not fit this configuration: {reason}"
        ) from None
    for encoder in (trained, untrained):
        encoder.eval().requires_grad_(False)
    return trained, untrained, int(content["step"])
