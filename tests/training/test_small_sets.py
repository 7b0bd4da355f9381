"""Sets with few images: the batch that fits, what a run tells, and what a user's own values do."""

from pathlib import Path
from typing import Any

import pytest

import sparring
from sparring.errors import ConfigError, DataError
from sparring.training.settings import RunConfig
from sparring.training.small_sets import cautions, gives_batch_size, with_fitting_batch
from tiny import tiny_images
from told import Told

SMALL: dict[str, Any] = {"encoder": {"width": 0.0625}, "training": {"monitor_images": 8}}


def config(**changed: Any) -> RunConfig:
    return RunConfig.from_tree({"method": "simclr"} | changed)


@pytest.mark.parametrize(
    ("images", "batch"), [(2, 2), (3, 2), (20, 16), (100, 64), (255, 128), (256, 256), (9999, 256)]
)
def test_the_batch_is_the_largest_power_of_two_that_the_images_fill(
    images: int, batch: int
) -> None:
    found = with_fitting_batch(config(), images)
    assert found.training.batch_size == batch
    assert found == config().changed(training={"batch_size": batch})  # nothing else


def test_the_line_has_both_batches_and_the_rate_of_the_linear_rule() -> None:
    asked = config(players={"encoder": {"learning_rate": 0.6}}, training={"epochs": 1000})
    fitting = with_fitting_batch(asked, 100)
    (line,) = cautions(fitting, 100, steps_per_epoch=1, asked_batch=256)
    assert line.startswith("batch_size=64 instead of 256, since there are 100 images")
    assert line.endswith("would be 0.15)")
    assert cautions(asked, 999, steps_per_epoch=3, asked_batch=256) == []


def test_one_image_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2 images, and there is 1"):
        with_fitting_batch(config(), 1)


def test_only_a_users_own_value_counts_as_given() -> None:
    assert not gives_batch_size(None, {"batch_size": None})
    assert not gives_batch_size({"training": {"epochs": 3}}, {})
    assert gives_batch_size(None, {"batch_size": 8})
    assert gives_batch_size({"training": {"batch_size": 8}}, {})


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [None, "simclr-small"])
def test_a_batch_of_the_default_or_a_recipe_fits_itself_to_the_set(
    recipe: str | None, tmp_path: Path
) -> None:
    listener = Told()
    run = sparring.train(
        tiny_images(10),
        out=tmp_path / "run",
        method="simclr",
        recipe=recipe,
        settings=SMALL,
        epochs=2,
        image_size=16,
        listener=listener,
    )
    assert run.config.training.batch_size == 16
    assert sum("batch_size=16 instead of" in line for line in listener.lines) == 1
    assert sum("only 2 steps" in line for line in listener.lines) == 1


@pytest.mark.parametrize(
    ("settings", "training"), [({}, {"batch_size": 21}), ({"batch_size": 21}, {})]
)
def test_a_batch_that_the_user_set_is_refused_and_nothing_is_left(
    settings: dict[str, int], training: dict[str, int], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="batch_size 21 is larger than the data set of 20 images"):
        sparring.train(
            tiny_images(10),
            out=tmp_path / "run",
            method="simclr",
            settings={"encoder": {"width": 0.0625}, "training": settings},
            **training,
        )
    assert not (tmp_path / "run").exists()


def test_few_steps_are_told_with_the_epochs_that_make_enough_but_not_of_a_trial() -> None:
    for training, told in (
        ({"epochs": 100}, ["only 300 steps"]),
        ({"epochs": 400}, []),
        ({"epochs": 1, "max_steps": 2}, []),
    ):
        lines = cautions(config(training=training), 200, steps_per_epoch=3, asked_batch=256)
        assert [line.partition(":")[0] for line in lines] == told
        assert all("--epochs 334" in line for line in lines)


@pytest.mark.parametrize(
    ("method", "section"), [("mocov2", "queue"), ("adco", "bank"), ("caco", "bank")]
)
def test_more_negatives_than_images_are_told(method: str, section: str) -> None:
    for size, told in ((100, 0), (101, 1)):
        asked = config(method=method, training={"epochs": 1000}, **{section: {"size": size}})
        lines = cautions(asked, 100, steps_per_epoch=3, asked_batch=256)
        assert sum(f"{section}.size={size}" in line for line in lines) == told
