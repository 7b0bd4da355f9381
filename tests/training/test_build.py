"""From a configuration to a game: the same bits each time, on the device and in the precision
asked for."""

import pytest
import torch
from torch import nn

import games
from sparring.acceleration.narrow_batch_norm import FEW, NarrowBatchNorm2d
from sparring.errors import ConfigError
from sparring.training.build import build
from sparring.training.devices import choose_autocast, choose_device


def test_the_global_generator_neither_enters_nor_leaves_a_game() -> None:
    torch.manual_seed(1)
    first = games.game("adco")
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = games.game("adco")
    assert torch.equal(before, torch.get_rng_state())
    assert not games.changed(games.state(first.method), games.state(second.method))


def test_a_teacher_starts_as_its_encoder() -> None:
    method = games.game("mocov2").method
    pairs = zip(
        method.get_submodule("teacher").parameters(), method.encoder.parameters(), strict=True
    )
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_every_method_starts_from_the_same_backbone() -> None:
    # So that a comparison differs in the opponent only.
    backbones = [games.game(method).encoder.backbone.state_dict() for method in games.METHODS]
    assert all(not games.changed(backbones[0], other) for other in backbones[1:])


def test_a_game_is_in_training_mode() -> None:
    assert all(module.training for module in games.game("adco").method.modules())


def test_a_network_of_ones_own_takes_the_place_of_the_named_one() -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU())
    game = build(games.config("simclr"), network)
    inside = game.encoder.backbone.network
    assert inside is not network
    assert not games.changed(games.state(network), games.state(inside))
    assert game.encoder(torch.zeros(2, 3, 16, 16)).shape == (2, 16)


def test_bfloat16_reaches_teacher_and_encoder() -> None:
    # The small stem keeps maps above 1 x 1: there PyTorch 2.14 on CPUs reads unset memory for a
    # bfloat16 kernel's gradient at stride 2.
    network = {"backbone": "resnet18", "width": 0.0625, "small_images": True}
    game = games.game("mocov2", encoder=network, training={"precision": "bfloat16"})
    encoders = [module for module in game.method.modules() if hasattr(module, "autocast_dtype")]
    assert [encoder.autocast_dtype for encoder in encoders] == [torch.bfloat16] * 2
    full = games.game("mocov2", encoder=network)
    losses = [games.play("mocov2", each, 0)["loss"] for each in (game, full)]
    # bfloat16 keeps 8 bits of every activation.
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0] != losses[1]


def test_on_a_processor_auto_means_full_precision() -> None:
    assert choose_autocast("auto", torch.device("cpu")) is None
    assert choose_autocast("float32", torch.device("cpu")) is None
    assert choose_autocast("bfloat16", torch.device("cpu")) == torch.bfloat16


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_here_is_refused_with_what_is(name: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"training\.device={name} cannot be used here.*use auto or cpu"
    ):
        choose_device(name)


def test_joint_batch_norm_needs_cuda_and_says_so() -> None:
    with pytest.raises(ConfigError, match=r"sync_batch_norm=true needs CUDA"):
        games.game("simclr", training={"sync_batch_norm": True})


def test_memory_order_is_that_of_the_settings() -> None:
    for channels_last in (True, False):
        encoder = games.game("simclr", training={"channels_last": channels_last}).encoder
        kernel = max(
            (p for p in encoder.parameters() if p.ndim == 4), key=lambda p: p.shape[-1] * p.shape[1]
        )
        assert kernel.is_contiguous(memory_format=torch.channels_last) is channels_last


def test_narrow_batch_norms_take_the_faster_route() -> None:
    game = games.game("mocov2", encoder={"width": 0.125})
    norms = [module for module in game.method.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {module.num_features < FEW for module in norms} == {True, False}
    assert all(
        isinstance(module, NarrowBatchNorm2d) is (module.num_features < FEW) for module in norms
    )


@pytest.mark.parametrize("method", ["mocov2", "mocov3", "adco", "caco", "acssl"])
def test_a_batch_that_cannot_be_parted_is_refused_before_anything_is_written(method: str) -> None:
    games.game(method, key_norm={"parts": 8})
    with pytest.raises(ConfigError, match=r"key_norm.parts=9: .*16 images give at most 8 parts"):
        games.game(method, key_norm={"parts": 9})


def test_parts_and_joint_statistics_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match=r"key_norm.parts=4: .*leave one of the two out"):
        games.game("mocov2", key_norm={"parts": 4}, training={"sync_batch_norm": True})


@pytest.mark.parametrize("game", ["simclr", "adco", "byol", "simclr+perturbation"])
def test_recomputed_activations_change_no_bit(game: str) -> None:
    method, *opponent = game.split("+")
    narrow = {"encoder": {"backbone": "resnet18", "width": 0.0625}, "opponent": opponent}
    states = []
    for recomputed in (False, True):
        config = games.config(method, **narrow, training={"checkpoint_activations": recomputed})
        made = build(config)
        records = [games.play(method, made, number) for number in range(2)]
        states.append((records, games.state(made.method)))
    (first, before), (second, after) = states
    assert first == second
    assert not games.changed(before, after)


def test_a_network_without_blocks_to_recompute_is_refused() -> None:
    config = games.config("simclr", training={"checkpoint_activations": True})
    with pytest.raises(ConfigError, match="has no sequence of blocks that could be recomputed"):
        build(config, games.Plain())
