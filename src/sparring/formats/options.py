"""Formats of exports, their options, and which of them go together."""

from dataclasses import dataclass

from sparring.errors import ConfigError, unknown_name
from sparring.formats.hub_folder import require_licence
from sparring.formats.model_card import NO_LICENCE
from sparring.formats.onnx_precision import PRECISIONS

FORMATS = {
    "timm": "a state dict under timm's names",
    "torchvision": "a state dict for torchvision's ResNets",
    "safetensors": "timm's names, without pickle",
    "onnx": "a program for ONNX Runtime and others",
    "torch-export": "a program for PyTorch alone",
    "hub": "a folder for the Hugging Face Hub, which timm loads",
}
"""Formats by name, and what each is."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Format of an export, its precision, and what else may be chosen.

    Attributes:
        form: one of `FORMATS`.
        precision: one of `PRECISIONS`.
        dynamic_size: whether a program takes images of any height and width.
        licence: of the weights, as the Hub names it.
        has_data: whether images were given, by which a smaller precision is made and compared.

    Raises:
        ConfigError: for an unknown name, or an option that says nothing to the format.
    """

    form: str = "timm"
    precision: str = "float32"
    dynamic_size: bool = False
    licence: str = NO_LICENCE
    has_data: bool = False

    def __post_init__(self) -> None:
        if self.form not in FORMATS:
            raise ConfigError(unknown_name("export format", self.form, FORMATS))
        if self.precision not in PRECISIONS:
            raise ConfigError(unknown_name("precision", self.precision, PRECISIONS))
        self._require(self.precision == "float32", "--precision", ("onnx",))
        self._require(not self.dynamic_size, "--dynamic-size", ("onnx", "torch-export"))
        self._require(self.licence == NO_LICENCE, "--licence", ("hub",))
        if self.has_data and self.precision == "float32":
            raise ConfigError(
                "--data names the images for --precision float16 or int8; float32 needs none"
            )
        require_licence(self.licence)

    def _require(self, is_unset: bool, option: str, forms: tuple[str, ...]) -> None:
        if not is_unset and self.form not in forms:
            raise ConfigError(
                f"{option} is for --format {' or '.join(forms)}, not {self.form}; leave it out"
            )
