"""What is learned before the first step: to its end, once per set of images, and to the bit after
an interruption."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import games
import tiny
from games import SIZE, dataset, training
from sparring import api
from sparring.data.dataset import Dataset, DataSettings, open_dataset
from sparring.errors import ConfigError, TrainingError
from sparring.opponents.generator_pair.networks import GeneratorSettings
from sparring.opponents.generator_pair.pretraining import (
    JudgeSettings,
    Pretraining,
    PretrainingSettings,
)
from sparring.training.checkpoint import read_state, write_state
from sparring.training.opponent_pretraining import PretrainingCache
from sparring.training.run import pretrain_opponent
from told import Told

SIZES = GeneratorSettings(width=4, latent=8)
SETTINGS = PretrainingSettings(steps=6, batch_size=8, discriminator_steps=2, ema=0.9)


def new_pretraining(settings: PretrainingSettings = SETTINGS) -> Pretraining:
    """An untrained generator and its judge."""
    return Pretraining(SIZES, settings, JudgeSettings(), image_size=SIZE, seed=0)


def learn(
    pretraining: Pretraining,
    folder: Path,
    *,
    images: Dataset | None = None,
    told: Told | None = None,
) -> dict[str, Tensor]:
    """Let it learn the blobs with a cache in the folder; copies of its tensors afterwards."""
    cache = PretrainingCache(images or dataset(), cache=folder, listener=told)
    cache.train(
        pretraining,
        name="generator",
        settings={"sizes": SIZES, "pretraining": pretraining.settings},
    )
    return {name: tensor.clone() for name, tensor in pretraining.state_dict().items()}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Whether all tensors agree in every bit."""
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


def test_a_generator_learns_once_per_images(tmp_path: Path) -> None:
    told = Told()
    first = learn(new_pretraining(), tmp_path, told=told)
    assert told.counts[-1] == ("generator learns the images", 6, 6)
    assert "learns the images first, 6 steps, about" in told.lines[0]
    assert not same(
        first, {name: tensor.clone() for name, tensor in new_pretraining().state_dict().items()}
    )
    again = Told()
    assert same(first, learn(new_pretraining(), tmp_path, told=again))
    assert not again.counts
    assert "learned from these images before" in again.lines[0]


def test_other_images_or_settings_are_learned_anew(tmp_path: Path) -> None:
    learn(new_pretraining(), tmp_path)
    for images, settings in (
        (dataset(60), SETTINGS),
        (dataset(), SETTINGS.model_copy(update={"ema": 0.5})),
    ):
        told = Told()
        learn(new_pretraining(settings), tmp_path, images=images, told=told)
        assert len(told.counts) == 6
    assert len(list(tmp_path.rglob("*.pt"))) == 3


def test_the_same_images_at_another_place_are_not_learned_again(tmp_path: Path) -> None:
    photos = tiny.write_photos(tmp_path / "photos", per_class=8)

    def told(folder: Path) -> Told:
        """What is told while images in a folder are learned."""
        listener, found = Told(), open_dataset(folder, DataSettings(), image_size=SIZE)
        learn(new_pretraining(), tmp_path / "cache", images=found, told=listener)
        return listener

    assert len(told(photos).counts) == 6
    moved = photos.rename(tmp_path / "moved")
    assert not told(moved).counts
    next((moved / "red").iterdir()).unlink()
    assert len(told(moved).counts) == 6


def test_an_interrupted_generator_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = learn(new_pretraining(), tmp_path / "whole")
    part, told = new_pretraining(), Told()
    original = part.train_step

    def step_and_interrupt(images: Dataset) -> None:
        """Ctrl-C in the second move."""
        original(images)
        if part.done == 2:
            import signal

            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(part, "train_step", step_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        learn(part, tmp_path / "parts", told=told)
    assert told.lines == ["generator: stopped after 2 of 6 steps; the same run goes on from there"]
    told = Told()
    assert same(whole, learn(new_pretraining(), tmp_path / "parts", told=told))
    assert [done for _, done, _ in told.counts] == [3, 4, 5, 6]


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint"])
def test_a_damaged_file_is_learned_anew(damage: bytes, tmp_path: Path) -> None:
    first = learn(new_pretraining(), tmp_path)
    next(tmp_path.rglob("*.pt")).write_bytes(damage)
    assert same(first, learn(new_pretraining(), tmp_path))


def test_a_generator_with_a_flipped_bit_is_learned_anew(tmp_path: Path) -> None:
    first = learn(new_pretraining(), tmp_path)
    path = next(tmp_path.rglob("*.pt"))
    content = bytearray(path.read_bytes())
    content[content.index(first["average.start.weight"].numpy().tobytes()[:64]) + 3] ^= 0x40
    path.write_bytes(bytes(content))
    assert same(first, learn(new_pretraining(), tmp_path))


def test_a_pair_begins_as_two_copies_of_the_average_apart_by_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "cache"))
    pair = {
        "generator": SIZES.model_dump(),
        "pretraining": SETTINGS.model_dump(),
        "init_noise": 0.01,
    }
    run = training("simclr", tmp_path / "run", opponent=["generator-pair"], generator_pair=pair)
    pretrain_opponent(run, None)
    method = run.game.method
    learned = new_pretraining().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learn(learned, tmp_path / "apart")
    learned.settle()
    first, second = method.pair.first.state_dict(), method.pair.second.state_dict()  # type: ignore[union-attr]
    assert same(dict(first), dict(learned.average.state_dict()))
    assert same(dict(method.discriminator.state_dict()), dict(learned.discriminator.state_dict()))  # type: ignore[union-attr]
    for name, parameter in method.pair.second.named_parameters():  # type: ignore[union-attr]
        size = float(first[name].square().mean().sqrt())
        apart = float((parameter.detach() - first[name]).square().mean().sqrt())
        assert (apart == 0.0) if size == 0.0 else (0.001 < apart / size < 0.03)
    assert same(
        {k: v for k, v in first.items() if "running" in k},
        {k: v for k, v in second.items() if "running" in k},
    )


def test_images_in_files_are_asked_to_be_decoded_once(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(8):
        Image.new("RGB", (200, 200), (30 * number, 0, 0)).save(folder / f"{number}.png")
    with pytest.raises(ConfigError, match=r"set data\.store=always"):
        api.train(
            folder, out=tmp_path / "run", method="hardgen", image_size=32, batch_size=4, epochs=1
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_tells_its_cost_learns_once_and_shows_its_pairs(tmp_path: Path) -> None:
    pixels = torch.randint(
        0, 256, (24, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    pair = {
        "generator": SIZES.model_dump(),
        "pretraining": {"steps": 6, "batch_size": 4, "discriminator_steps": 1},
        "pretraining_seed": 0,
    }
    small = {
        "encoder": {"width": 0.0625},
        "generator_pair": pair,
        "training": {"log_steps": 1, "monitor_images": 16},
    }
    told = [Told(), Told()]
    for number, seed in enumerate((0, 1)):
        api.train(
            pixels.numpy(),
            out=tmp_path / str(number),
            method="hardgen",
            settings=small,
            epochs=4,
            batch_size=8,
            image_size=SIZE,
            seed=seed,
            listener=told[number],
        )
    lines = [" ".join(each.lines) for each in told]
    assert all(
        "generator-pair: a step takes" in text
        and "times one of simclr alone (2 timed); all 12 steps at most" in text
        for text in lines
    )
    assert "generator: learns the images first, 6 steps" in lines[0]
    assert "generator: learned from these images before" in lines[1]
    metrics = (tmp_path / "0" / "metrics.jsonl").read_text()
    assert '"generator_pair/frechet":' in metrics
    assert '"generator_pair/similarity":' in metrics
    page = api.report(
        [tmp_path / "0"], out=tmp_path / "report.html", data=pixels.numpy()
    ).read_text()
    assert "Generated pairs" in page
    assert "Similarity of generated pairs, S" in page


def test_a_trial_that_diverges_leaves_the_error_to_the_run(tmp_path: Path) -> None:
    told = Told()
    with pytest.raises(TrainingError, match=r"stopped at step [0-3]:"):
        api.train(
            torch.zeros(24, 3, SIZE, SIZE, dtype=torch.uint8).numpy(),
            out=tmp_path / "run",
            method="hardgen",
            settings={
                "encoder": {"width": 0.0625},
                "generator_pair": {
                    "generator": SIZES.model_dump(),
                    "pretraining": {"steps": 2, "batch_size": 4, "discriminator_steps": 1},
                },
                "players": {"encoder": {"learning_rate": 1e30, "warmup_epochs": 0.0}},
                "training": {"monitor_images": 16},
            },
            epochs=4,
            batch_size=8,
            image_size=SIZE,
            listener=told,
        )
    assert "generator-pair: a trial of 2 steps diverged" in " ".join(told.lines)


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_a_generator_that_diverges_is_named_and_never_stored(player: str, tmp_path: Path) -> None:
    pretraining = new_pretraining()
    settings = pretraining.players[player].settings
    pretraining.players[player].settings = settings.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(TrainingError, match=r"^generator: learning the images stopped at step "):
        learn(pretraining, tmp_path)
    assert not list(tmp_path.rglob("*.pt"))


def test_a_stored_generator_that_is_not_finite_is_learned_anew(tmp_path: Path) -> None:
    expected = learn(new_pretraining(), tmp_path)
    (path,) = tmp_path.rglob("*.pt")
    state = read_state(path)
    next(iter(state["modules"].values())).fill_(torch.nan)
    write_state(path, state)
    found = learn(new_pretraining(), tmp_path)
    assert not games.changed(expected, found)


def learned(cache: Path, **settings: object) -> list[str]:
    """Names of the generators that runs of the seeds 0 and 1 keep in a cache of their own."""
    pair = {
        "generator": SIZES.model_dump(),
        "pretraining": {"steps": 1, "batch_size": 8, "discriminator_steps": 1},
        **settings,
    }
    for seed in (0, 1):
        opponents = {"opponent": ["generator-pair"], "generator_pair": pair}
        pretrain_opponent(training("simclr", cache / "run", seed=seed, **opponents), None)
    return sorted(path.name for path in (cache / "learned").iterdir())


def test_each_seed_has_a_generator_of_its_own_unless_one_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "own"))
    own = learned(tmp_path / "own")
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "shared"))
    shared = learned(tmp_path / "shared", pretraining_seed=0)
    assert len(own) == 2
    assert len(shared) == 1
    assert shared[0] in own


def test_a_generator_of_another_seed_is_another(tmp_path: Path) -> None:
    first, second = (
        Pretraining(SIZES, SETTINGS, JudgeSettings(), image_size=SIZE, seed=seed) for seed in (0, 1)
    )
    assert not same(first.state_dict(), second.state_dict())
