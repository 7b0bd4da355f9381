"""Arguments and options that stand for one setting each."""

import pytest
from torch import nn

from sparring.errors import ConfigError
from sparring.training.arguments import SHORT_NAMES, argument_settings, setting_of
from sparring.training.configure import configure
from sparring.training.unknown_settings import refuse_unknown


@pytest.mark.parametrize(
    ("argument", "value", "setting"),
    [
        ("backbone", "resnet50", "encoder.backbone"),
        ("lr", 0.3, "players.encoder.learning_rate"),
        ("workers", 3, "data.workers"),
        ("weights", "timm", "encoder.weights"),
        ("precision", "float32", "training.precision"),
        ("seed", 4, "seed"),
    ],
)
def test_an_argument_sets_its_setting(argument: str, value: str | float, setting: str) -> None:
    assert setting_of(argument) == setting
    found = configure(None, **{argument: value}).tree()  # type: ignore[arg-type]
    for part in setting.split("."):
        found = found[part]
    assert found == value


def test_every_short_name_stands_for_a_setting_that_there_is() -> None:
    tree = argument_settings(dict.fromkeys(SHORT_NAMES, 1))
    every = list(SHORT_NAMES.values())
    refuse_unknown(tree, every, method="adco")


def test_settings_win_over_arguments_and_arguments_over_the_recipe() -> None:
    settings = {"players": {"encoder": {"learning_rate": 0.7}}}
    assert _rate(configure(None, recipe="simclr-small", lr=0.5)) == 0.5
    assert _rate(configure(None, recipe="simclr-small", lr=0.5, settings=settings)) == 0.7


def _rate(config: object) -> float:
    return float(config.method_settings.players.encoder.learning_rate)  # type: ignore[attr-defined]


def test_an_unknown_argument_is_told_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="unknown argument 'wieghts'; did you mean 'weights'"):
        argument_settings({"wieghts": "timm"})


def test_an_unknown_backbone_is_refused_before_images_are_opened() -> None:
    with pytest.raises(ConfigError, match="unknown backbone 'resnet81'; did you mean 'resnet18'"):
        configure("nowhere", backbone="resnet81")


def test_a_given_network_and_the_name_of_another_are_refused_together() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 8))
    with pytest.raises(ConfigError, match=r"encoder\.backbone='resnet18' names another"):
        configure("nowhere", backbone=network, settings={"encoder": {"backbone": "resnet18"}})
    assert configure("nowhere", backbone=network).encoder.backbone == "custom:Sequential"
