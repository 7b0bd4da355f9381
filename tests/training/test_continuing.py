"""Settings that suit a start from weights: what is chosen, what stays, and what is told."""

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from sparring.config import merged
from sparring.training.configure import configure
from sparring.training.settings import RunConfig

FROM_WEIGHTS: dict[str, Any] = {"encoder": {"weights": "timm"}}


def configured(*lines: Any, **more: Any) -> tuple[RunConfig, list[str]]:
    told: list[str] = []
    settings = merged(FROM_WEIGHTS, more.pop("settings", {}))
    config = configure("", settings=settings, report=told.append, **{"method": "simclr", **more})
    return config, told


def chosen(config: RunConfig) -> dict[str, float]:
    encoder = config.method_settings.players.encoder
    return {key: getattr(encoder, key) for key in ("learning_rate", "warmup_epochs", "layer_decay")}


def test_a_start_from_weights_has_a_lower_rate_and_a_warm_up() -> None:
    config, told = configured(epochs=50)
    assert chosen(config) == {"learning_rate": 0.018, "warmup_epochs": 5.0, "layer_decay": 1.0}
    assert told == [
        "players.encoder.learning_rate=0.018, players.encoder.warmup_epochs=5, because of "
        "encoder.weights; set them yourself to have others"
    ]


def test_a_transformer_also_has_rates_by_depth() -> None:
    config, told = configured(settings={"encoder": {"backbone": "vit_tiny_patch16_224"}})
    assert chosen(config)["layer_decay"] == 0.75
    assert "players.encoder.layer_decay=0.75" in told[0]


def test_a_transformer_of_ones_own_is_known_by_its_attention() -> None:
    network = nn.TransformerEncoderLayer(8, 2)
    config, _ = configured(backbone=network)
    assert chosen(config)["layer_decay"] == 0.75


def test_what_is_set_stays_and_the_rest_is_chosen() -> None:
    config, told = configured(settings={"players": {"encoder": {"learning_rate": 0.5}}}, epochs=10)
    assert chosen(config) == {"learning_rate": 0.5, "warmup_epochs": 1.0, "layer_decay": 1.0}
    (line,) = told
    assert line.startswith("players.encoder.warmup_epochs=1, because")


def test_nothing_is_told_where_everything_is_set() -> None:
    player = {"learning_rate": 0.06, "warmup_epochs": 0.0, "layer_decay": 1.0}
    config, told = configured(settings={"players": {"encoder": player}})
    assert chosen(config) == player
    assert not told


def test_the_rate_of_a_recipe_stays_and_is_called_one_from_scratch(tmp_path: Path) -> None:
    config, told = configured(recipe="simclr-small", method=None)
    rate = configure("", recipe="simclr-small").method_settings.players.encoder.learning_rate
    assert chosen(config)["learning_rate"] == rate
    assert told[-1] == (
        f"players.encoder.learning_rate={rate:g} is the recipe's, for training from scratch; about "
        f"{0.3 * rate:g} suits encoder.weights"
    )
    own = tmp_path / "own.toml"
    own.write_text('[encoder]\nweights = "timm"\n[players.encoder]\nlearning_rate = 0.4\n')
    config, told = configured(recipe=own)
    assert chosen(config)["learning_rate"] == 0.4
    assert not any("from scratch" in line for line in told)


def test_without_weights_nothing_changes() -> None:
    told: list[str] = []
    config = configure("", method="simclr", report=told.append)
    assert chosen(config) == {"learning_rate": 0.06, "warmup_epochs": 0.0, "layer_decay": 1.0}
    assert not told


def test_the_chosen_settings_rebuild_the_run() -> None:
    config, _ = configured()
    assert RunConfig.from_tree(config.tree(), is_stored=True) == config


@pytest.mark.parametrize("method", ["adco", "clae"])
def test_no_other_player_is_changed(method: str) -> None:
    (config, _), plain = configured(method=method), configure("", method=method)
    ours, theirs = (one.tree()["players"] for one in (config, plain))
    assert {key: ours[key] for key in ours if key != "encoder"} == {
        key: theirs[key] for key in theirs if key != "encoder"
    }
