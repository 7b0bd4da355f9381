"""What a study says that the runs of one seed share is so to the bit; what it says they do not
share differs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small_studies import SETTINGS, changed, photos
from torch import Tensor

from sparring.config import merged
from sparring.studies.arms import arms_of
from sparring.studies.configs import arm_config, arm_configs
from sparring.studies.pairing import Shared, fixed_for_all_seeds, shared_by_arms
from sparring.studies.plan import Arm, Study
from sparring.training.loop import Training
from sparring.training.opening import open_images
from sparring.training.run import prepare
from sparring.training.run_folder import RunFolder

WEIGHTS, PROJECTOR, IMAGES, ORDER, VIEWS, LOOKS = range(6)
"""Place of each thing in what `shared_by_arms` gives."""
OWN = {key: value for key, value in SETTINGS.items() if key != "projector"}


def study_of(data: Path, arms: Sequence[Arm], **fields: Any) -> Study:
    """Study with the small recipes at their own projectors."""
    return Study(data=str(data), arms=arms, settings=OWN, epochs=3, **fields)


@pytest.fixture
def plain(tmp_path: Path) -> Study:
    """A game, its twin and its control."""
    return study_of(photos(tmp_path), arms_of("adco,mocov2", twins=True))


@pytest.fixture
def mixed(tmp_path: Path) -> Study:
    """Arms of which each differs from the first in something that a draw depends on."""
    settings = {
        "mocov2": {},
        "batch": {"training": {"batch_size": 8}},
        "head": {"projector": {"dim": 32}},
        "width": {"encoder": {"width": 0.125}},
        "flip": {"views": {"flip": 0.0}},
        "limit": {"data": {"limit": 8}},
    }
    arms = [
        Arm(name=name, method="mocov2", settings=tree, role="control")
        for name, tree in settings.items()
    ]
    return study_of(photos(tmp_path), arms)


def games(study: Study, *, seed: int, limit: int | None = None) -> dict[str, Training]:
    """Every arm at its first step."""
    found = {}
    for arm in study.arms:
        config = arm_config(study, arm, seed=seed, limit=limit)
        config, dataset = open_images(config, study.data, None)
        folder = RunFolder(Path(study.data).parent / "runs" / arm.name)
        found[arm.name] = prepare(config, dataset, folder, backbone=None, listener=None)
    return found


def drawn(run: Training) -> dict[int, list[Tensor]]:
    """What a run has drawn, by its place among what is shared."""
    encoder = run.game.encoder
    steps = list(run.feed.steps(0))
    order = [coded([run.dataset.keys[row] for row in step.indices.tolist()]) for step in steps]
    return {
        WEIGHTS: list(encoder.backbone.state_dict().values()),
        PROJECTOR: list(encoder.projector.state_dict().values()),
        IMAGES: [coded(sorted(run.dataset.keys))],
        ORDER: order,
        VIEWS: [view.pixels for view in steps[0].views(run.views)],
    }


def coded(names: Sequence[str]) -> Tensor:
    """Names of images as a tensor."""
    return torch.tensor([[ord(letter) for letter in name[-16:].rjust(16)] for name in names])


def equal(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Whether two lists of tensors agree in every bit."""
    return len(first) == len(second) and all(
        one.shape == other.shape and torch.equal(one, other)
        for one, other in zip(first, second, strict=True)
    )


def require_as_said(said: Sequence[Shared], runs: Mapping[str, Training]) -> None:
    """Compare what is said with what was drawn, for every two arms."""
    found = {name: drawn(run) for name, run in runs.items()}
    for place in (WEIGHTS, PROJECTOR, IMAGES, ORDER, VIEWS):
        group = {name: one for one in said[place].groups for name in one}
        for first, second in [(a, b) for a in found for b in found if a < b]:
            is_equal = equal(found[first][place], found[second][place])
            assert is_equal == (group[first] == group[second]), (said[place].what, first, second)


def test_a_game_its_twin_and_its_control_share_every_first_draw(plain: Study) -> None:
    said = shared_by_arms(plain, arm_configs(plain))
    assert all(one.is_shared for one in said)
    require_as_said(said, games(plain, seed=0))


def test_arms_share_what_is_said_and_nothing_more(mixed: Study) -> None:
    said = shared_by_arms(mixed, arm_configs(mixed))
    require_as_said(said, games(mixed, seed=0))
    assert said[WEIGHTS].differs == ("encoder.width",)
    assert said[PROJECTOR].differs == ("encoder.width", "projector.dim")
    assert said[ORDER].groups == (("mocov2", "head", "width", "flip"), ("batch",), ("limit",))
    assert said[VIEWS].differs[-1].startswith("views.")
    assert "which differ in data.limit, data.limit_seed (" in str(said[IMAGES])


def test_another_seed_shares_nothing(plain: Study) -> None:
    first, second = (drawn(games(plain, seed=seed, limit=8)["adco"]) for seed in (0, 1))
    assert not any(equal(first[place], second[place]) for place in first)


def test_a_twin_has_the_bank_of_its_game(plain: Study) -> None:
    runs = games(plain, seed=0)
    first, second = (
        dict(runs[name].game.method.named_buffers()) for name in ("adco", "adco/queue")
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_an_opponent_learns_first_is_each_seeds_own_unless_it_is_shared(plain: Study) -> None:
    arms = arms_of("hardgen", twins=True, controls=True)
    study = changed(plain, arms=[arm.model_dump(mode="json") for arm in arms])
    told = str(shared_by_arms(study, arm_configs(study))[6])
    assert "learns from the images before the first step: the same for all arms" in told
    assert "each seed has its own" in told
    own = merged(dict(OWN), {})
    tree = [arm.model_dump(mode="json") for arm in arms if arm.name != "simclr"]
    for arm in tree:
        arm["settings"] = merged(arm["settings"], {"generator_pair": {"pretraining_seed": 0}})
    study = changed(plain, arms=tree, settings=own)
    configs = arm_configs(study)
    assert "shares it among all seeds too" in str(shared_by_arms(study, configs)[6])
    assert fixed_for_all_seeds(configs) == ["generator_pair.pretraining_seed=0"]


def test_a_draw_that_is_fixed_for_all_seeds_is_said(plain: Study) -> None:
    limited = merged(dict(OWN), {"data": {"limit": 8}})
    study = changed(plain, settings=limited)
    assert "each seed draws its own" in str(shared_by_arms(study, arm_configs(study))[IMAGES])
    assert fixed_for_all_seeds(arm_configs(study)) == []
    fixed = merged(limited, {"data": {"limit_seed": 3}})
    configs = arm_configs(changed(plain, settings=fixed))
    assert "the same ones for all seeds too" in str(shared_by_arms(study, configs)[IMAGES])
    assert fixed_for_all_seeds(configs) == ["data.limit_seed=3"]


def test_held_out_images_are_the_same_for_all_seeds(plain: Study) -> None:
    said = [str(one) for one in shared_by_arms(plain, arm_configs(plain))]
    assert any("held out to be scored are the same ones for all seeds" in text for text in said)
    study = changed(plain, tests=[{"name": "test", "data": "elsewhere"}])
    said = [str(one) for one in shared_by_arms(study, arm_configs(study))]
    assert not any("held out" in text for text in said)
