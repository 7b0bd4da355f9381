"""The model card of a folder for the Hugging Face Hub: what the weights are, how to load them, what
they were trained on, and how they score."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from sparring.data.sources.addresses import HUB
from sparring.formats.card_scores import cell, hub_results, scores_table
from sparring.formats.card_snippets import snippets
from sparring.formats.settings_shown import changed_settings, recipe_of, scaling, without_places
from sparring.models.encoder import Encoder
from sparring.training.encoder_names import UNTRAINED, start_name
from sparring.training.scores import Scores
from sparring.training.settings import RunConfig

NO_LICENCE = "other"
"""Licence of weights for which whoever trained them has chosen none."""
_VERSIONS = ("sparring", "torch", "timm")


@dataclass(frozen=True, kw_only=True)
class ExportedRun:
    """A run of which something is exported.

    Attributes:
        name: last part of its folder.
        encoder: the trained encoder.
        config: its configuration.
        step: number of steps that the encoder has learned.
        environment: content of its environment.json.
        scores: its scores.
    """

    name: str
    encoder: Encoder
    config: RunConfig
    step: int
    environment: Mapping[str, Any]
    scores: Scores

    @property
    def method(self) -> str:
        """Names of the method and of the opponents around it."""
        around = [str(without_places(one)) for one in self.config.opponent]
        return " with ".join([str(without_places(self.config.method)), *around])

    def facts(self) -> dict[str, str]:
        """What a file with a program says of itself."""
        config = self.config
        mean, std = config.encoder.normalisation(config.data.channels)
        return {
            "sparring_version": version("sparring"),
            "run": self.name,
            "method": self.method,
            "backbone": str(without_places(config.encoder.backbone)),
            "width": f"{config.encoder.width:g}",
            "steps": str(self.step),
            "value_range": "0 to 1",
            "channels": str(config.data.channels),
            "image_size": str(config.image_size),
            "normalisation": f"in the graph: mean {list(mean)}, std {list(std)}",
        }


def model_card(
    run: ExportedRun, *, title: str, licence: str, obstacle: str, torch_file: str
) -> str:
    """Text of README.md: the Hub's YAML header, and the card.

    Args:
        run: what the card is of.
        title: name of the model.
        licence: of the weights, as the Hub names it.
        obstacle: why timm cannot load the folder by its name; empty if it can.
        torch_file: file of `torch.export` in the folder; empty if there is none.
    """
    parts = [
        f"---\n{_header(run, title=title, licence=licence, is_timm=not obstacle)}\n---",
        f"# {title}",
        _introduction(run),
        f"## Use\n\n{snippets(run.encoder, run.config, obstacle=obstacle, torch_file=torch_file)}",
        f"## Training\n\n{_training(run)}",
        f"## Scores\n\n{scores_table(run.scores)}",
        f"## Limits\n\n{_limits(run)}",
        f"## Licence\n\n{_licence(licence)}",
    ]
    return "\n\n".join(parts) + "\n"


def _header(run: ExportedRun, *, title: str, licence: str, is_timm: bool) -> str:
    from huggingface_hub import ModelCardData

    path = run.config.data.path
    is_named = path.startswith(HUB) and without_places(path) == path
    tags = ["sparring", "self-supervised", "vision", *(["timm"] if is_timm else ["pytorch"])]
    results = hub_results(run.scores, seed=run.config.seed)
    data = ModelCardData(
        license=licence,
        license_name="not-chosen" if licence == NO_LICENCE else None,
        library_name="timm" if is_timm else None,
        pipeline_tag="image-feature-extraction",
        tags=tags,
        datasets=[path.removeprefix(HUB).partition("#")[0]] if is_named else None,
        model_name=title if results else None,
        eval_results=results or None,
        ignore_metadata_errors=False,
    )
    return str(data.to_yaml()).strip()


def _introduction(run: ExportedRun) -> str:
    config = run.config
    width = f" at {config.encoder.width:g} of its width" if config.encoder.width != 1 else ""
    return (
        f"An image encoder, `{without_places(config.encoder.backbone)}`{width}, trained by "
        f"self-supervised learning ({run.method}) with the library sparring. It gives "
        f"{run.encoder.backbone.num_features} features per image of {config.data.channels} "
        f"{'channel' if config.data.channels == 1 else 'channels'}; it has no classifier."
    )


def _training(run: ExportedRun) -> str:
    config, images = run.config, run.environment.get("images")
    where = f"`{without_places(config.data.path)}`" if config.data.path else "given in memory"
    count = f"{images:,} images" if isinstance(images, int) else "an unknown number"
    began = start_name(config.encoder.weights, run.environment.get("started_from"))
    start = "random weights" if began == UNTRAINED else _start_weights(run)
    given = config.data.given_range
    lines = [
        f"- **Images:** {count}, {where}, {config.image_size} x {config.image_size} px; no "
        "label was used",
        *([] if given is None else [f"- **Values:** scaled to [0, 1]: {scaling(given)}"]),
        f"- **Method:** {run.method}",
        f"- **Recipe:** {_recipe(run.environment)}",
        f"- **Start:** {start}",
        f"- **Length:** {run.step:,} steps of {config.training.batch_size} images",
        f"- **Seed:** {config.seed}, one run",
        f"- **Software:** {_software(run.environment)}",
    ]
    return "\n".join([*lines, "", _settings_table(run)])


def _recipe(environment: Mapping[str, Any]) -> str:
    found = recipe_of(environment)
    if found is None:
        return "not recorded; `config.toml` has all settings"
    return found or "none; the defaults of the method"


def _start_weights(run: ExportedRun) -> str:
    weights = run.config.encoder.weights
    if weights is not None:
        return f"weights of `{without_places(weights)}`, whose licence applies too"
    return "the state of another run"


def _software(environment: Mapping[str, Any]) -> str:
    versions = [f"{name} {environment[name]}" for name in _VERSIONS if name in environment]
    device = environment.get("device", "an unknown device")
    return ", ".join([*versions, f"on {'a CPU' if device == 'cpu' else device}"])


def _settings_table(run: ExportedRun) -> str:
    changed = changed_settings(run.config)
    if not changed:
        return "All settings are the defaults of the method; `config.toml` lists them."
    rows = [f"| `{key}` | {cell(_shown(value))} |" for key, value in changed.items()]
    return "\n".join(
        [
            "Settings that differ from the defaults of the method; `config.toml` lists all:",
            "",
            "| setting | value |",
            "| --- | --- |",
            *rows,
        ]
    )


def _shown(value: Any) -> str:
    """A value as TOML writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _limits(run: ExportedRun) -> str:
    size = run.config.image_size
    return (
        f"- It was trained on the images named above, at {size} px. Features of other kinds of "
        "images, or of other sizes, were not looked at.\n"
        "- One run with one seed: another seed gives other features and other scores.\n"
        "- No labels were used in training. What biases the images have, the features may have.\n"
        "- Features are not normalised; compare them by cosine similarity."
    )


def _licence(licence: str) -> str:
    owner = "The weights belong to whoever trained them; the library asks nothing of them."
    if licence == NO_LICENCE:
        return f"{owner} No licence has been chosen for them yet: ask before you use them."
    return f"{owner} They are offered under `{licence}`."
