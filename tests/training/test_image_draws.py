"""Which images `data.limit` takes: others for every seed, the same again for one run."""

from pathlib import Path

import pytest

import sparring
import tiny
from sparring.api.scoring import _kept
from sparring.config import toml_text
from sparring.data.dataset import DataSettings, open_dataset
from sparring.errors import RunError
from sparring.training.opening import open_images
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 16 photos."""
    return tiny.write_photos(tmp_path / "photos", per_class=8)


def drawn(photos: Path, **given: object) -> list[str]:
    """Names of the images of a run."""
    tree = {"method": "simclr", "data": {"limit": 6}, **given}
    config, dataset = open_images(RunConfig.from_tree(tree), photos, None)
    assert config.data.limit_seed is not None
    return list(dataset.keys)


def train(photos: Path, out: Path, **given: object) -> RunFolder:
    """A short run on 12 of the photos."""
    settings = {
        "data": {"limit": 12, "store": "memory"},
        "encoder": {"width": 0.0625},
        "projector": {"dim": 8, "hidden": 8},
        "training": {"monitor_images": 8},
    }
    sparring.train(
        photos,
        out=out,
        method="simclr",
        settings=settings,
        epochs=1,
        batch_size=4,
        image_size=16,
        progress=False,
        **given,
    )
    return RunFolder(out)


def test_runs_of_other_seeds_draw_other_images(photos: Path) -> None:
    assert drawn(photos, seed=0) != drawn(photos, seed=1)
    assert drawn(photos, seed=1) == drawn(photos, seed=1)


def test_one_seed_for_the_draw_gives_all_runs_the_same_images(photos: Path) -> None:
    data = {"limit": 6, "limit_seed": 4}
    assert drawn(photos, seed=0, data=data) == drawn(photos, seed=1, data=data)


def test_seed_0_draws_as_older_versions_did(photos: Path) -> None:
    of_0 = list(open_dataset(photos, DataSettings(limit=6), image_size=32).keys)
    assert drawn(photos, seed=0) == of_0 != drawn(photos, seed=3)


def test_the_draw_is_stored_with_the_run(photos: Path, tmp_path: Path) -> None:
    folder = train(photos, tmp_path / "run", seed=5)
    assert folder.read_config().data.limit_seed == 5
    told = sparring.resume(tmp_path / "run", progress=False)
    assert told.path == tmp_path / "run"


def test_an_older_run_folder_keeps_its_images(photos: Path, tmp_path: Path) -> None:
    folder = train(photos, tmp_path / "run", seed=5, max_steps=1)
    stored = folder.read_config().tree()
    del stored["data"]["limit_seed"]
    folder.config.write_text(toml_text(stored))
    assert folder.read_config().data.limit_seed == 0
    # This run was made with other images than those of seed 0, which is noticed.
    with pytest.raises(RunError, match="would go on as another experiment"):
        sparring.resume(tmp_path / "run", progress=False)


def test_a_run_without_a_limit_stores_no_draw(photos: Path) -> None:
    config, _ = open_images(RunConfig.from_tree({"method": "simclr", "seed": 3}), photos, None)
    assert config.data.limit_seed is None
    assert RunConfig.from_tree(config.tree(), is_stored=True).data.limit_seed is None


def test_an_evaluation_learns_from_the_images_that_the_run_drew(
    photos: Path, tmp_path: Path
) -> None:
    config = train(photos, tmp_path / "run", seed=5).read_config()
    own = _kept(config.data, 6, own=True, seed=0)
    assert (own.limit, own.limit_seed) == (6, 5)
    others = _kept(config.data, 6, own=False, seed=2)
    assert (others.limit, others.limit_seed) == (6, 2)
    few = {open_dataset(photos, own, image_size=16).keys[row] for row in range(6)}
    assert few < {*open_dataset(photos, config.data, image_size=16).keys}
