"""A folder in the layout of the Hugging Face Hub, which its own client uploads."""

import re
import shlex
from pathlib import Path

from sparring.config import toml_text
from sparring.errors import ConfigError, UsageError
from sparring.files import new_folder, not_written, publish, write_atomically
from sparring.formats.exported_program import exported_program
from sparring.formats.feature_network import FeatureNetwork
from sparring.formats.model_card import ExportedRun, model_card
from sparring.formats.settings_shown import shown_configuration
from sparring.formats.timm_folder import WEIGHTS, write_timm_files, write_weights
from sparring.formats.timm_networks import is_widened, obstacle

PROGRAM = "model.pt2"
"""File of `torch.export` for networks that timm cannot build by a name."""
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


def require_licence(licence: str) -> None:
    """Raise an error for a licence that cannot be an identifier of the Hub."""
    if not _LICENCE.fullmatch(licence):
        raise ConfigError(
            f"--licence '{licence}' is no identifier of the Hub; such are apache-2.0, mit, "
            "cc-by-4.0, cc-by-nc-4.0, or other"
        )


def require_new(out: Path) -> None:
    """Raise an error if something other than an empty folder is in the place of a folder."""
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise UsageError(
            f"{out} exists and is not an empty folder; remove it or choose another --out"
        )


def write_hub_folder(run: ExportedRun, out: Path, *, licence: str) -> str:
    """Write a folder for the Hub, whole or not at all; returns lines that load and upload it.

    The folder is loaded by `timm.create_model` before it gets its name, and its features are
    compared with the encoder's. A network that timm cannot build by a name is written as a program
    of `torch.export` too, and the card says so.

    Args:
        run: what is exported.
        out: folder to write; missing or empty.
        licence: of the weights, as the Hub names it.

    Raises:
        UsageError: if something is in the place of the folder.
        SparringError: if what was written has other features than the encoder.
        StorageError: if it cannot be written.
    """
    require_licence(licence)
    require_new(out)
    reason = obstacle(run.encoder, run.config)
    try:
        with new_folder(out) as part:
            notes = (
                _write_program(run, part, reason)
                if reason
                else _write_for_timm(run, part, licence=licence)
            )
            card = model_card(
                run,
                title=out.resolve().name,
                licence=licence,
                obstacle=reason,
                torch_file=PROGRAM if reason else "",
            )
            write_atomically(part / "README.md", card.encode("utf-8", "replace"))
            settings = toml_text(shown_configuration(run.config))
            write_atomically(part / "config.toml", settings.encode("utf-8", "replace"))
            publish(part, out)
    except OSError as error:
        raise not_written(out, error) from None
    code = (
        f"import torch\nmodel = torch.export.load({str(out / PROGRAM)!r}).module()"
        if reason
        else f"import timm\nmodel = timm.create_model({f'local-dir:{out}'!r}, pretrained=True)"
    )
    return "\n".join(
        [code, *notes, _licence_note(licence), f"# hf upload USER/NAME {shlex.quote(str(out))}"]
    )


def _write_for_timm(run: ExportedRun, part: Path, *, licence: str) -> list[str]:
    difference = write_timm_files(run.encoder, run.config, part, licence=licence)
    notes = [f"# loaded by timm; largest difference of its features: {difference:.2g}"]
    if is_widened(run.encoder, run.config):
        notes.append(
            "# timm's stem has 64 channels: those that this narrow network lacks are zeros; "
            "backbone.safetensors has its own shapes"
        )
    return notes


def _write_program(run: ExportedRun, part: Path, reason: str) -> list[str]:
    write_weights(part / WEIGHTS, run.encoder.backbone.network.state_dict())
    program, difference = exported_program(
        FeatureNetwork(run.encoder),
        image_size=run.config.image_size,
        has_dynamic_size=False,
        facts=run.facts(),
    )
    write_atomically(part / PROGRAM, program)
    return [
        f"# timm cannot load this folder by its name: {reason}; {PROGRAM} needs no library but "
        "PyTorch, and README.md has the lines that build the network with timm",
        f"# loaded by PyTorch; largest difference of its features: {difference:.2g}",
    ]


def _licence_note(licence: str) -> str:
    if licence == "other":
        return "# the weights are yours: no licence was chosen (--licence NAME)"
    return f"# licence of the weights: {licence}"
