"""What the runs of one seed share, and what they do not: the reason why they are compared in pairs.

Draws are named by the seed, their purpose and the step, so arms share one wherever the settings on
which it depends are equal. This file says of each draw which settings these are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparring.config import Tree, leaves
from sparring.methods import registry
from sparring.methods.method import Method
from sparring.opponents.opponent import Opponent
from sparring.studies.plan import Study
from sparring.training.settings import RunConfig

LEARNED_BY = ("generator", "judge", "pretraining", "pretraining_seed")
"""Settings of an opponent that decide what it learns before the first step, as its cache has them;
not those by which a twin is disarmed."""
SIZE = 32
"""Side in pixels for which views are compared where no arm says any; all arms then get the same."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """One thing that runs of equal seed may have in common.

    Attributes:
        what: the thing in words.
        groups: arms that have it in common, the largest group first.
        differs: settings in which the groups differ; empty if all arms share it.
        note: what else is to be said; empty for nothing.
    """

    what: str
    groups: tuple[tuple[str, ...], ...]
    differs: tuple[str, ...] = ()
    note: str = ""

    @property
    def is_shared(self) -> bool:
        """Whether all arms have it in common."""
        return len(self.groups) == 1

    def __str__(self) -> str:
        if self.is_shared:
            text = f"{self.what}: the same for all arms of a seed"
        else:
            parts = [", ".join(group) for group in self.groups]
            text = (
                f"{self.what}: not the same for all arms of a seed, which differ in "
                f"{', '.join(self.differs)} ({'; '.join(parts)})"
            )
        return f"{text}; {self.note}." if self.note else f"{text}."


def shared_by_arms(study: Study, configs: Mapping[str, RunConfig]) -> list[Shared]:
    """What all arms of a seed share and what they do not, and why.

    Args:
        study: plan of the study.
        configs: configuration of each arm, by its name; see `configs.arm_configs`.
    """
    found = [
        _grouped(what, decisive, configs, note=note)
        for what, decisive, note in (
            ("First weights of the backbone", _weights, _start_note(configs)),
            ("First weights of the projector", _projector, ""),
            ("Which images are trained on", _images, _draw_note(study, configs)),
            ("Order of the images, step by step", _order, ""),
            ("Views of the images", _views, ""),
            ("Images of the looks during training", _looks, ""),
        )
    ]
    learning = {name: config for name, config in configs.items() if _learners(config)}
    if learning:
        what = "What an opponent learns from the images before the first step"
        found.append(_grouped(what, _learned, learning, note=_learned_note(learning)))
    scored = Shared(
        what="Draws of the scoring, such as of labels",
        groups=(tuple(configs),),
        note=_held_out_note(study),
    )
    own = Shared(
        what="Draws of the method and its opponent at a step",
        groups=(tuple(configs),),
        note="arms that draw other things do not use them alike",
    )
    return [*found, scored, own]


def fixed_for_all_seeds(configs: Mapping[str, RunConfig]) -> list[str]:
    """Settings that give all seeds the same draw, so that scores vary less than in earnest.

    Args:
        configs: configuration of each arm, by its name.
    """
    found: dict[str, None] = {}
    for config in configs.values():
        for name, value in leaves(config.tree()):
            if value is not None and name.endswith(("limit_seed", "pretraining_seed")):
                found[f"{name}={value}"] = None
        if config.encoder.weights is not None:
            found[f"encoder.weights={config.encoder.weights}"] = None
    return list(found)


def _grouped(
    what: str,
    decisive: Callable[[RunConfig], Tree],
    configs: Mapping[str, RunConfig],
    *,
    note: str,
) -> Shared:
    """Arms by what decides a thing."""
    flat = {name: dict(leaves(decisive(config))) for name, config in configs.items()}
    groups: list[list[str]] = []
    for name, one in flat.items():
        same = next((group for group in groups if flat[group[0]] == one), None)
        if same is None:
            groups.append([name])
        else:
            same.append(name)
    keys = dict.fromkeys(key for one in flat.values() for key in one)
    values = list(flat.values())
    differs = [key for key in keys if any(one.get(key) != values[0].get(key) for one in values)]
    return Shared(
        what=what,
        groups=tuple(tuple(group) for group in sorted(groups, key=len, reverse=True)),
        differs=tuple(differs),
        note=note,
    )


def _weights(config: RunConfig) -> Tree:
    encoder = config.encoder.model_dump(mode="json")
    size, channels = config.training.image_size, config.data.channels
    return {
        "seed": config.seed,
        "encoder": encoder,
        "training": {"image_size": size},
        "data": {"channels": channels},
    }


def _projector(config: RunConfig) -> Tree:
    projector = config.method_settings.projector.model_dump(mode="json")
    return {**_weights(config), "projector": projector}


def _images(config: RunConfig) -> Tree:
    data = config.data
    drawn = config.seed if data.limit_seed is None else data.limit_seed
    return {
        "data": {
            "limit": data.limit,
            "limit_seed": None if data.limit is None else drawn,
            "streaming": data.streaming,
            "num_images": data.num_images,
        }
    }


def _order(config: RunConfig) -> Tree:
    own = {"seed": config.seed, "training": {"batch_size": config.training.batch_size}}
    if config.data.streaming:
        own["data"] = {"shuffle_buffer": config.data.shuffle_buffer}
    images = _images(config)["data"]
    return {**own, "data": {**images, **own.get("data", {})}}  # type: ignore[dict-item]


def _views(config: RunConfig) -> Tree:
    size = config.training.image_size
    recipes = config.method_settings.views.resolve(size or SIZE)
    data = {"store": config.data.store, "stored_size": config.data.stored_size}
    order = _order(config)
    return {
        **order,
        "data": {**order["data"], **data},
        "training": {**order["training"], "image_size": size},
        "views": {str(number): repr(recipe) for number, recipe in enumerate(recipes)},
    }


def _looks(config: RunConfig) -> Tree:
    count = config.training.monitor_images
    return {**_images(config), "seed": config.seed, "training": {"monitor_images": count}}


def _learners(config: RunConfig) -> dict[str, Any]:
    """Settings of what learns from the images before the first step, by its section."""
    silent = (Method.pretrain_opponent, Opponent.pretrain_opponent)
    found: dict[str, Any] = {}
    if registry.method_class(config.method).pretrain_opponent not in silent:
        found["method"] = config.method_settings
    for name, settings in config.opponent_settings.items():
        if registry.opponent_class(name).pretrain_opponent not in silent:
            found[registry.section_of(name)] = settings
    return found


def _learned(config: RunConfig) -> Tree:
    """Settings of what is learned; not those by which a twin is disarmed."""
    tree: Tree = {**_images(config), "seed": config.seed}
    for section, settings in _learners(config).items():
        own = settings.model_dump(mode="json")
        decisive = {key: value for key, value in own.items() if key in LEARNED_BY}
        tree[section] = decisive or own
    return tree


def _start_note(configs: Mapping[str, RunConfig]) -> str:
    given = [config for config in configs.values() if config.encoder.weights is not None]
    return "given weights are the same for all seeds too" if given else ""


def _draw_note(study: Study, configs: Mapping[str, RunConfig]) -> str:
    limits = [config.data for config in configs.values() if config.data.limit is not None]
    if any(one.limit_seed is not None for one in limits):
        return "data.limit_seed draws the same ones for all seeds too"
    is_drawn = limits or any(share < 1 for share in study.shares)
    return "each seed draws its own" if is_drawn else "all of them"


def _held_out_note(study: Study) -> str:
    if all(one.data for one in study.tests):
        return ""
    return "the images that are held out to be scored are the same ones for all seeds too"


def _learned_note(configs: Mapping[str, RunConfig]) -> str:
    seeds: Sequence[object] = [
        getattr(settings, "pretraining_seed", None)
        for config in configs.values()
        for settings in _learners(config).values()
    ]
    if any(seed is not None for seed in seeds):
        return "pretraining_seed shares it among all seeds too"
    return "each seed has its own"
