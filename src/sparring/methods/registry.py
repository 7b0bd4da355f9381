"""The methods by name. Importing this file does not import torch, so that a list of methods costs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from sparring.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from sparring.methods.method import Method, MethodSettings


@dataclass(frozen=True, kw_only=True)
class Entry:
    """How a method is found and introduced.

    Attributes:
        module: module below `sparring.methods`; loaded when asked for.
        method: name of its `Method` there; its settings are called the same plus `Settings`.
        summary: one line for `sparring methods`.
        source: authors, year and arXiv id.
        opponent: what plays against the encoder.
    """

    module: str
    method: str
    summary: str
    source: str
    opponent: str


METHODS = {
    "simclr": Entry(
        module="simclr",
        method="SimCLR",
        summary="find the other view among all images of the batch",
        source="Chen et al. 2020, arXiv:2002.05709",
        opponent="none (control)",
    ),
    "mocov2": Entry(
        module="mocov2",
        method="MoCoV2",
        summary="find the teacher's key among a queue of past keys",
        source="Chen et al. 2020, arXiv:2003.04297",
        opponent="none (control): a queue",
    ),
    "adco": Entry(
        module="adco",
        method="AdCo",
        summary="find the teacher's key among negatives that learn to confuse",
        source="Hu et al. 2021, arXiv:2011.08435",
        opponent="a learned bank of negatives",
    ),
}


def find(name: str) -> Entry:
    """Entry of a method.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    if name not in METHODS:
        raise ConfigError(unknown_name("method", name, METHODS))
    return METHODS[name]


def method_class(name: str) -> type[Method]:
    """Class of a method by its name on the command line."""
    entry = find(name)
    return cast("type[Method]", getattr(import_module(f"sparring.methods.{entry.module}"), entry.method))


def settings_class(name: str) -> type[MethodSettings]:
    """Settings of a method by its name on the command line."""
    entry = find(name)
    return cast("type[MethodSettings]", getattr(import_module(f"sparring.methods.{entry.module}"), f"{entry.method}Settings"))
