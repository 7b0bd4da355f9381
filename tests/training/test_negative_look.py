"""A look at a method's negatives: right on made-up vectors, and it moves nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import games
from sparring.data.dataset import open_dataset
from sparring.measures.negatives import NEGATIVE_METRICS
from sparring.methods.method import Method
from sparring.methods.negatives import Negatives
from sparring.methods.registry import method_class
from sparring.objectives.similarity import unit_rows
from sparring.optim.schedule import Position
from sparring.seeding import generator
from sparring.training.metrics import read_metrics
from sparring.training.monitor import Asked, Monitor
from sparring.training.negative_look import Encoded, looked_at, num_encoded

WITHOUT = {"byol", "dino", "simsiam", "vicreg"}
LATE = Position(step=90, num_steps=100, steps_per_epoch=10)
ROWS, DIM = 120, 16


def directions(name: str, rows: int = ROWS) -> Tensor:
    """Random unit rows."""
    return unit_rows(torch.randn(rows, DIM, generator=generator(0, name)))


def encoded(*, keys: Tensor | None = None, batch_size: int = ROWS, labels: bool = True) -> Encoded:
    """Random images of four classes whose keys are near their anchors, unless they are given."""
    query = directions("query")
    near = unit_rows(query + 0.05 * directions("noise"))
    return Encoded(
        query=query,
        keys=(near, query) if keys is None else (keys, query),
        features=query,
        labels=torch.arange(ROWS) % 4 if labels else None,
        batch_size=batch_size,
    )


def look(negatives: Negatives, of: Encoded | None = None, *, seed: int = 0) -> dict[str, float]:
    """Measures without their common prefix."""
    found = looked_at(negatives, of or encoded(), draws=generator(seed, "negatives"))
    return {name.removeprefix("negatives/"): value for name, value in found.items()}


def test_a_bank_copied_from_the_anchors_is_too_hard() -> None:
    bank = encoded().query[:100]
    found = look(Negatives(temperature=0.1, stored=bank, is_played=True), encoded(batch_size=100))
    assert found["hardest"] == pytest.approx(1, abs=1e-6)
    assert found["random_hardest"] < 0.9
    assert found["above_positive"] == 1


def test_a_bank_of_the_anchors_classes_is_false() -> None:
    centres = directions("centres", 4)
    query = unit_rows(centres[torch.arange(ROWS) % 4] + 0.1 * directions("within"))
    of = replace(encoded(), query=query, keys=(query, query), features=query)
    found = look(Negatives(temperature=0.1, stored=centres.repeat(8, 1), is_played=True), of)
    assert found["false_by_label"] == 1
    assert found["same_class"] == pytest.approx(29 / 119)  # of 119 others, 29 are of one's class


def test_a_random_bank_is_as_hard_as_random_keys() -> None:
    found = look(Negatives(temperature=0.1, stored=directions("bank"), is_played=True))
    # Standard error of a mean of 120 correlated quantiles.
    assert found["higher"] == pytest.approx(found["random_higher"], abs=0.03)
    assert found["false_by_label"] == pytest.approx(found["same_class"], abs=0.15)
    assert found["false_by_neighbours"] < 0.3


def test_a_bank_that_has_left_the_images_is_hardly_used() -> None:
    """Nine of ten vectors point away from all anchors."""
    query = directions("query").abs()
    of = replace(encoded(), query=query, keys=(query, query))
    bank = torch.cat([directions("near", 20).abs(), -directions("far", 180).abs()])
    found = look(Negatives(temperature=0.1, stored=bank), of)
    assert found["used"] <= 0.1 < 0.5 < found["random_used"]


def test_a_bank_is_measured_whatever_the_length_of_its_vectors() -> None:
    bank = directions("bank")
    scales = 1 + torch.rand(len(bank), 1, generator=generator(0, "lengths"))
    one, other = (look(Negatives(temperature=0.1, stored=rows)) for rows in (bank, scales * bank))
    assert one == pytest.approx(other, rel=1e-6, abs=1e-6)  # float32


@pytest.mark.parametrize(("views", "number"), [(1, 19), (2, 38)])
def test_other_images_of_the_batch_are_met_and_the_own_one_is_not(views: int, number: int) -> None:
    of = encoded(batch_size=20)
    found = look(Negatives(temperature=0.1, views=views), of)
    assert found["number"] == number
    cosines = of.query[:20] @ torch.cat([keys[:20] for keys in of.keys[:views]]).T
    own = torch.cat([torch.eye(20, dtype=torch.bool)] * views, dim=1)
    expected = cosines.masked_fill(own, -1).max(dim=1).values.mean()
    assert found["hardest"] == pytest.approx(float(expected), abs=1e-6)
    assert "random_higher" not in found  # they are random play themselves


def test_stored_vectors_and_other_images_count_together_and_hardness_is_the_banks() -> None:
    bank = directions("bank", 50)
    alone = look(Negatives(temperature=0.1, stored=bank))
    both = look(Negatives(temperature=0.1, stored=bank, views=1))
    assert (alone["number"], both["number"]) == (50, 50 + ROWS - 1)
    assert both["hardest"] == alone["hardest"]
    assert both["effective_number"] > alone["effective_number"]


@pytest.mark.parametrize("chooser", ["key", "anchor"])
def test_an_entry_that_is_the_positive_is_no_negative(chooser: str) -> None:
    bank = encoded().query
    shared = Negatives(temperature=0.1, stored=bank, positive_by=chooser)  # type: ignore[arg-type]
    found = look(shared)
    assert found["number"] == ROWS - 1
    assert found["positive"] == pytest.approx(1, abs=1e-6)
    assert found["hardest"] < 0.95
    assert look(Negatives(temperature=0.1, stored=bank))["hardest"] > 0.999


def test_mined_negatives_are_those_of_the_ranks() -> None:
    of = encoded()
    ranked = (of.query @ of.keys[0].T).fill_diagonal_(-2).sort(dim=1, descending=True).values
    mined = Negatives(temperature=None, views=1, choice="hardest", count=9, skip=1, is_played=True)
    found = look(mined, of)
    assert found["number"] == found["effective_number"] == 9
    assert found["hardest"] == pytest.approx(float(ranked[:, 1].mean()), abs=1e-6)
    assert found["median"] == pytest.approx(float(ranked[:, 5].mean()), abs=1e-6)
    easiest = look(Negatives(temperature=None, views=1, choice="easiest", count=9), of)
    at_random = look(Negatives(temperature=None, views=1, choice="random", count=9), of)
    assert easiest["median"] < at_random["median"] < found["median"]
    assert found["random_median"] == pytest.approx(at_random["median"], abs=0.05)


def test_images_without_labels_are_judged_by_features_alone() -> None:
    found = look(Negatives(temperature=0.1, views=1), encoded(labels=False))
    assert "false_by_label" not in found
    assert "false_by_neighbours" in found


def test_pairs_of_unknown_class_are_left_out() -> None:
    of = encoded()
    assert of.labels is not None
    of.labels[1:] = -1
    assert "false_by_label" not in look(Negatives(temperature=0.1, views=1), of)


def test_the_same_seed_draws_the_same_random_play() -> None:
    negatives = Negatives(temperature=0.1, stored=directions("bank", 30))
    assert look(negatives, seed=1) == look(negatives, seed=1)
    assert look(negatives, seed=1)["random_higher"] != look(negatives, seed=2)["random_higher"]


def test_a_method_that_meets_nobody_has_no_measures() -> None:
    assert look(Negatives(temperature=0.1)) == {}
    assert look(Negatives(temperature=0.1, views=1), encoded(batch_size=1)) == {}


def test_a_look_encodes_a_batch_or_a_bank_and_no_more_than_there_is() -> None:
    bank = Negatives(temperature=0.1, stored=torch.ones(65_536, 2))
    assert num_encoded(Negatives(temperature=0.1, views=1), batch_size=64, available=2000) == 64
    assert num_encoded(bank, batch_size=64, available=2000) == 256
    assert num_encoded(bank, batch_size=1024, available=2000) == 1024
    assert num_encoded(bank, batch_size=64, available=40) == 40


def modes(method: Method) -> list[bool]:
    return [module.training for module in method.modules()]


@pytest.mark.parametrize("method", games.METHODS)
def test_a_look_at_the_negatives_of_a_method_moves_nothing(method: str) -> None:
    game = games.game(method)
    for step in range(4):
        games.play(method, game, step)
    negatives = game.method.negatives(LATE)
    assert (negatives is None) is (method in WITHOUT)
    assert (method_class(method).negatives is Method.negatives) is (method in WITHOUT)
    if negatives is None:
        return
    game.method.train()
    before, ways = games.state(game.method), modes(game.method)
    draws = torch.get_rng_state()
    images = (games.images(40), np.arange(40) % 2)
    dataset = open_dataset(images, games.config(method).data, image_size=games.SIZE)
    watching = Monitor(dataset, games.augmentation(method), num_images=40, seed=0)
    asked = Asked(negatives=negatives, batch_size=16, step=4)
    found, _ = watching.look(game.encoder, torch.device("cpu"), asked)
    assert not games.changed(before, games.state(game.method))
    assert modes(game.method) == ways
    assert torch.equal(draws, torch.get_rng_state())
    assert watching.look(game.encoder, torch.device("cpu"), asked)[0] == found
    names = {name for name in found if name.startswith("negatives/")}
    assert {"negatives/number", "negatives/hardest", "negatives/false_by_label"} <= names
    assert names <= NEGATIVE_METRICS.keys()
    values = {name: found[name] for name in names}
    assert all(np.isfinite(value) for value in values.values())
    assert 1 <= values["negatives/effective_number"] <= values["negatives/number"] + 1e-6


@pytest.mark.parametrize("method", ["adco", "acssl"])
def test_a_run_records_its_negatives_at_each_look_and_ends_the_same(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = games.training(method, tmp_path / "seen", training={"monitor_epochs": 1})
    seen.run()
    monkeypatch.setattr(method_class(method), "negatives", Method.negatives)
    blind = games.training(method, tmp_path / "blind", training={"monitor_epochs": 1})
    blind.run()
    assert not games.changed(games.state(seen.game.method), games.state(blind.game.method))
    records, others = (read_metrics(run.folder.metrics) for run in (seen, blind))
    looks = [record["step"] for record in records if "negatives/number" in record]
    assert looks == [record["step"] for record in others if "alignment" in record]
    timed = {"seconds", "images_per_second"}
    for record, other in zip(records, others, strict=True):
        kept = {name for name in record if name not in NEGATIVE_METRICS} - timed
        assert {name: record[name] for name in kept} == {n: other[n] for n in other.keys() - timed}


def test_an_opponent_around_a_method_has_the_methods_negatives() -> None:
    game = games.game("mocov2", opponent=["perturbation"])
    found = game.method.negatives(LATE)
    assert found is not None
    assert found.stored is not None
    assert len(found.stored) == 40


def test_the_bank_counts_as_played_once_its_game_has_begun_and_never_in_its_twins() -> None:
    settings = {"bank": {"size": 16}, "queue_epochs": 5.0}
    early = Position(step=10, num_steps=100, steps_per_epoch=10)
    for disarmed, is_played in ((None, True), ("queue", False), ("frozen", False)):
        game = games.game("adco", disarmed=disarmed, **settings)
        game.method.advance(64)
        for position, expected in ((early, False), (LATE, is_played)):
            found = game.method.negatives(position)
            assert found is not None
            assert found.is_played is expected
