"""Pretraining and features as a transformer of scikit-learn."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import safetensors.torch
from torch import Tensor

from sparring.api.common import Run, folder_of
from sparring.api.training import train
from sparring.config import merged
from sparring.data.dataset import open_dataset
from sparring.data.sources.source import open_source
from sparring.errors import ConfigError, DataError
from sparring.evaluation.features import extract_features
from sparring.models.encoder import Encoder
from sparring.training.build import build_encoder
from sparring.training.devices import choose_device
from sparring.training.encoders import load_encoder
from sparring.training.settings import RunConfig

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import validate_data
except ModuleNotFoundError:
    raise ConfigError(
        "SparringTransformer needs scikit-learn; pip install 'sparring[sklearn]'"
    ) from None

SHOWN_BAD = 3
"""Most unreadable images that a message names."""


class SparringTransformer(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]  # scikit-learn has no types
    TransformerMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """Transformer of scikit-learn: `fit` pretrains an encoder, `transform` gives its features.

    `fit` needs no labels; `transform` gives float32 features, (images, channels). The images are in
    any form of `ImageData` (docs/data.md): an array (N, H, W), (N, H, W, C) or (N, C, H, W), where
    the shorter of two axes is that of the channels unless the last one has 1 or 3; a list of paths,
    of PIL images or of arrays; a folder. Rows of numbers, as in `load_digits().data`, need
    `image_shape`. Values other than uint8 are scaled by the range found in `fit`.

    Args:
        method: as in `sparring.train`; None: the recipe's, or adco.
        recipe: shipped recipe by name, or a TOML file.
        opponent: opponents in image space around the method, the innermost first.
        epochs: passes over the images; None: the recipe's, or the method's.
        batch_size: images per step; None: as `epochs`.
        image_size: side of the views in pixels; None: from the size of the images.
        settings: further settings as a nested dictionary, for example {"encoder": {"width": 0.5}}.
        seed: of all random draws: equal seeds give equal features.
        device: auto, cpu, cuda or mps.
        image_shape: shape of the image that each row of a table is, (height, width) or one with
            channels first or last; as in NumPy, one of the numbers may be -1. None: X holds images.
        out: run folder to keep, for `sparring report` and the like; it must be new at each `fit`.
            None: a temporary folder, removed after `fit`.
        run: finished run whose encoder is used; `fit` then trains nothing, and is not needed.
        verbose: whether progress is shown on standard error.

    Attributes:
        encoder_: the encoder, a `torch.nn.Module` in evaluation mode.
        config_: resolved configuration of its run.
        n_features_in_: numbers per row; only with `image_shape`.
        feature_names_in_: names of the columns; only with `image_shape` and a DataFrame.

    A fitted transformer is pickled with its weights, so that it can be loaded on another machine
    that has this library; no run folder and no GPU is needed there.

    Example:
        make_pipeline(SparringTransformer(epochs=100), LogisticRegression()).fit(images, labels)
    """

    def __init__(
        self,
        method: Any = None,
        *,
        recipe: str | Path | None = None,
        opponent: Any = (),
        epochs: int | None = None,
        batch_size: int | None = None,
        image_size: int | None = None,
        settings: Mapping[str, Any] | None = None,
        seed: int = 0,
        device: str = "auto",
        image_shape: Sequence[int] | None = None,
        out: str | Path | None = None,
        run: str | Path | Run | None = None,
        verbose: bool = False,
    ) -> None:
        self.method = method
        self.recipe = recipe
        self.opponent = opponent
        self.epochs = epochs
        self.batch_size = batch_size
        self.image_size = image_size
        self.settings = settings
        self.seed = seed
        self.device = device
        self.image_shape = image_shape
        self.out = out
        self.run = run
        self.verbose = verbose

    def fit(self, X: Any, y: object = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Pretrain the encoder on images, or load that of `run`.

        Args:
            X: images, at least two; see the class.
            y: not used.

        Raises:
            UsageError: a `ValueError`, for wrong images or settings.
            TrainingError: if the loss is not finite.
        """
        images = self._images(X, is_fit=True)
        if self.run is not None:
            self._take(self.run)
            return self
        with self._folder() as out:
            self._take(
                train(
                    images,
                    out=out,
                    method=self.method,
                    opponent=tuple(self.opponent)
                    if isinstance(self.opponent, list)
                    else self.opponent or None,
                    recipe=self.recipe,
                    settings=merged(_stored(images), self.settings or {}),
                    progress=self.verbose,
                    epochs=self.epochs,
                    batch_size=self.batch_size,
                    image_size=self.image_size,
                    seed=self.seed,
                    device=self.device,
                )
            )
        return self

    def transform(self, X: Any) -> npt.NDArray[np.float32]:  # noqa: N803
        """Features of images, float32 (images, channels), one row per image in their order.

        Raises:
            NotFittedError: before `fit`, if no `run` is given.
            DataError: a `ValueError`, if an image cannot be read.
        """
        encoder, config = self._fitted()
        images = self._images(X, is_fit=False)
        keep = config.data.model_copy(update={"limit": None, **_stored(images).get("data", {})})
        dataset = open_dataset(open_source(images, part="all"), keep, image_size=config.image_size)
        if dataset.quarantine:
            shown = [f"{key} ({reason})" for key, reason in dataset.quarantine[:SHOWN_BAD]]
            count = len(dataset.quarantine)
            raise DataError(
                f"{count:,} image{'s' * (count != 1)} cannot be read, and transform gives one row "
                f"per image; leave out {', '.join(shown)}"
            )
        device = choose_device(self.device)
        features = extract_features(
            encoder.to(device), dataset, device=device, kept_on="cpu"
        ).numpy()
        encoder.to("cpu")
        return features

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "encoder_") or self.run is not None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self.image_shape is not None
        tags.input_tags.three_d_array = self.image_shape is None
        tags.input_tags.string = self.image_shape is None  # paths
        tags.requires_fit = self.run is None
        tags.transformer_tags.preserves_dtype = []  # float32 always
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        if (encoder := state.pop("encoder_", None)) is not None:
            tensors = {
                name: value.detach().cpu().contiguous().clone()
                for name, value in encoder.state_dict().items()
            }
            state["config_"] = self.config_.tree()
            state["_weights"] = safetensors.torch.save(tensors)
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        state = dict(state)
        weights = state.pop("_weights", None)
        if weights is not None:
            config = RunConfig.from_tree(state["config_"], is_stored=True)
            state["config_"] = config
            state["encoder_"] = _rebuilt(config, safetensors.torch.load(weights))
        super().__setstate__(state)

    @property
    def _n_features_out(self) -> int:
        """Number of channels, by which scikit-learn names the features."""
        encoder, _ = self._fitted()
        return int(encoder.backbone.num_features)

    def _fitted(self) -> tuple[Encoder, RunConfig]:
        if self.run is not None and self.run != getattr(self, "_taken", None):
            self._take(self.run)
        if not hasattr(self, "encoder_"):
            raise NotFittedError(
                "this SparringTransformer is not fitted yet; call fit, or give run="
            )
        return self.encoder_, self.config_

    def _take(self, run: str | Path | Run) -> None:
        folder = folder_of(run)
        self.encoder_, self.config_ = load_encoder(folder), folder.read_config()
        self._taken = self.run  # another one, given later by set_params, is taken then

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """Run folder of a training."""
        if self.out is not None:
            yield Path(self.out)
            return
        with TemporaryDirectory(prefix="sparring-") as folder:
            yield Path(folder) / "run"

    def _images(self, X: Any, *, is_fit: bool) -> Any:  # noqa: N803
        """Images of what a user gives, in a form of `ImageData`."""
        if self.image_shape is None:
            if len(getattr(X, "shape", ())) == 2:
                raise DataError(
                    f"X has the shape {tuple(X.shape)}: rows of numbers; say which image a row is, "
                    "such as image_shape=(8, 8), or give images (N, H, W)"
                )
            return X
        rows = validate_data(self, X, reset=is_fit, dtype="numeric", ensure_min_samples=1 + is_fit)
        shape = tuple(self.image_shape)
        try:
            return rows.reshape(len(rows), *shape)
        except ValueError:
            raise DataError(
                f"image_shape={shape} does not fit rows of {rows.shape[1]} numbers; their product "
                "must be the same"
            ) from None


def _stored(images: object) -> dict[str, Any]:
    """Settings by which images in memory stay there, and no file is written for them."""
    return {} if isinstance(images, str | Path) else {"data": {"store": "memory"}}


def _rebuilt(config: RunConfig, tensors: Mapping[str, Tensor]) -> Encoder:
    """Encoder of a configuration with these weights, on the CPU."""
    config = config.changed(training={"device": "cpu", "sync_batch_norm": False})
    encoder = build_encoder(config)
    encoder.load_state_dict(tensors)
    return encoder.eval().requires_grad_(False)
