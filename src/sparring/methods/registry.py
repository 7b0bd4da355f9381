"""The methods by name. Importing this file does not import torch, so that a list of methods costs
nothing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast, get_args

from sparring.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from sparring.config import Settings
    from sparring.methods.method import Method, MethodSettings, Wrapper


@dataclass(frozen=True, kw_only=True)
class Entry:
    """How a method is found and introduced.

    Attributes:
        module: module below `sparring.methods`; loaded when asked for.
        method: name of its `Method` there; its settings are called the same plus `Settings`.
        summary: one line for `sparring methods`.
        source: authors, year and arXiv id.
        opponent: what plays against the encoder.
        cost: CPU time of a step relative to SimCLR's on one thread (benchmarks/method_steps.py;
            ResNet-18 at width 0.125, 32 px).
        good_for: when to take it.
    """

    module: str
    method: str
    summary: str
    source: str
    opponent: str
    cost: float
    good_for: str


METHODS = {
    "simclr": Entry(
        module="methods.simclr",
        method="SimCLR",
        summary="find the other view among all images of the batch",
        source="Chen et al. 2020, arXiv:2002.05709",
        opponent="none (control)",
        cost=1.0,
        good_for=(
            "the first run on any images, and the control of every opponent in image space; wants "
            "many images per step"
        ),
    ),
    "mocov2": Entry(
        module="methods.mocov2",
        method="MoCoV2",
        summary="find the teacher's key among a queue of past keys",
        source="Chen et al. 2020, arXiv:2003.04297",
        opponent="none (control): a queue",
        cost=1.36,
        good_for=(
            "small batches and many negatives; the control of the learned banks: a queue in their "
            "place"
        ),
    ),
    "byol": Entry(
        module="methods.byol",
        method="BYOL",
        summary="predict the teacher's embedding of the other view; no negatives",
        source="Grill et al. 2020, arXiv:2006.07733",
        opponent="none (control): no negatives either",
        cost=1.33,
        good_for=(
            "images of which many are alike, since nothing is pushed apart; the control of mined "
            "negatives"
        ),
    ),
    "simsiam": Entry(
        module="methods.simsiam",
        method="SimSiam",
        summary="predict the other view's embedding, held still; no negatives, no teacher",
        source="Chen & He 2020, arXiv:2011.10566",
        opponent="none (control): no negatives either",
        cost=0.99,
        good_for="the smallest game that works: no teacher, no negatives, no large batch",
    ),
    "mocov3": Entry(
        module="methods.mocov3",
        method="MoCoV3",
        summary="find the teacher's key among the keys of the batch, with a predictor",
        source="Chen et al. 2021, arXiv:2104.02057",
        opponent="none (control): the other images of the batch",
        cost=1.31,
        good_for=(
            "large batches and vision transformers; the same network as BYOL with negatives, and "
            "CaCo's recipe without its bank"
        ),
    ),
    "plain": Entry(
        module="methods.plain",
        method="Plain",
        summary="find the other view among the other views of the batch, in one direction",
        source="Ho & Vasconcelos 2020, arXiv:2010.12050",
        opponent="none (control): a base of clae",
        cost=1.16,
        good_for=(
            "the simplest contrastive control; the base on which the perturbation moves what "
            "every image is compared with"
        ),
    ),
    "uel": Entry(
        module="methods.uel",
        method="UEL",
        summary="recognise the own image among the batch, and be recognised as no other",
        source="Ye et al. 2019, arXiv:1904.03436",
        opponent="none (control): a base of clae",
        cost=1.05,
        good_for=(
            "small batches: every other image is told apart separately; a base on which clae was "
            "published"
        ),
    ),
    "adco": Entry(
        module="methods.adco",
        method="AdCo",
        summary="find the teacher's key among negatives that learn to confuse",
        source="Hu et al. 2021, arXiv:2011.08435",
        opponent="a learned bank of negatives",
        cost=1.29,
        good_for=(
            "hard negatives at a fixed memory: whether their learning helps on your images is for "
            "disarmed=queue to say"
        ),
    ),
    "caco": Entry(
        module="methods.caco",
        method="CaCo",
        summary="find the nearest entry of a bank that learns to be positive and negative",
        source="Wang et al. 2022, arXiv:2203.14370",
        opponent="a shared bank: positives learned with the encoder, negatives against it",
        cost=1.29,
        good_for=(
            "long runs on many images; short ones begin with momentum contrast (queue_epochs); "
            "compare with disarmed=instance-key"
        ),
    ),
    "acssl": Entry(
        module="methods.acssl",
        method="ACSSL",
        summary=(
            "be closer to the teacher's key than to the most similar other images (our "
            "reconstruction)"
        ),
        source="after Zhu et al. 2022, arXiv:2202.13072",
        opponent="hard negative pairs, mined online",
        cost=1.27,
        good_for=(
            "finding out whether the hardest images of a batch teach more than random ones; "
            "compare with disarmed=random and byol"
        ),
    ),
}


OPPONENTS = {
    "perturbation": Entry(
        module="opponents.perturbed",
        method="Perturbed",
        summary="move each image by a few grey levels so that the method's loss rises",
        source="Ho & Vasconcelos 2020, arXiv:2010.12050",
        opponent="adversarial examples of the batch's own images, around any method",
        cost=2.09,
        good_for=(
            "finding out whether harder views teach more on your images; compare with "
            "perturbation.disarmed=random-signs"
        ),
    ),
    "generator-pair": Entry(
        module="opponents.generator_pair.opponent",
        method="GeneratorPair",
        summary=(
            "two generators, trained with the encoder, make similar but distinct images that are "
            "hard for it (our reconstruction)"
        ),
        source="after Wu et al. 2022, arXiv:2202.06464",
        opponent="generated hard positives and further negatives, around any method",
        cost=11.7,
        good_for=(
            "few images, when generating more might help; compare with "
            "generator_pair.disarmed=real-views, which costs less"
        ),
    ),
}
"""Opponents in image space, by their names for `--opponent`; their cost is relative to a step of
the method that they play around."""


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """A published game that is a method with opponents in image space: a further name for
    `--method`."""

    method: str
    opponents: tuple[str, ...]


PAIRINGS = {
    "clae": Pairing(method="simclr", opponents=("perturbation",)),
    "hardgen": Pairing(method="simclr", opponents=("generator-pair",)),
}


def find(name: str) -> Entry:
    """Entry of a method.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    if name in OPPONENTS:
        raise ConfigError(
            f"'{name}' is no method but an opponent around one: use --opponent {name}, with a "
            "--method"
        )
    if name not in METHODS:
        raise ConfigError(unknown_name("method", name, [*METHODS, *PAIRINGS]))
    return METHODS[name]


def find_opponent(name: str) -> Entry:
    """Entry of an opponent in image space.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    if name not in OPPONENTS:
        raise ConfigError(unknown_name("opponent", name, OPPONENTS))
    return OPPONENTS[name]


def method_class(name: str) -> type[Method]:
    """Class of a method by its name on the command line."""
    entry = find(name)
    return cast("type[Method]", getattr(import_module(f"sparring.{entry.module}"), entry.method))


def settings_class(name: str) -> type[MethodSettings]:
    """Settings of a method by its name on the command line."""
    entry = find(name)
    return cast(
        "type[MethodSettings]",
        getattr(import_module(f"sparring.{entry.module}"), f"{entry.method}Settings"),
    )


def wrapper_class(name: str) -> Callable[[Method, Settings], Wrapper]:
    """Class of an opponent in image space by its name on the command line; takes a method and its
    settings."""
    entry = find_opponent(name)
    return cast(
        "Callable[[Method, Settings], Wrapper]",
        getattr(import_module(f"sparring.{entry.module}"), entry.method),
    )


def wrapper_settings_class(name: str) -> type[Settings]:
    """Settings of an opponent in image space by its name on the command line."""
    entry = find_opponent(name)
    return cast(
        "type[Settings]",
        getattr(import_module(f"sparring.{entry.module}"), f"{entry.method}Settings"),
    )


def section(opponent: str) -> str:
    """Where an opponent's settings stand in a configuration."""
    return opponent.replace("-", "_")


def twins(name: str) -> tuple[str, ...]:
    """The values of the setting `disarmed` of a method or an opponent: its controls; none where
    there is no opponent to switch off."""
    settings = wrapper_settings_class(name) if name in OPPONENTS else settings_class(name)
    field = settings.model_fields.get("disarmed")
    return (
        tuple(value for part in get_args(field.annotation) for value in get_args(part))
        if field is not None
        else ()
    )
