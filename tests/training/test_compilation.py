"""Compiled runs: when they are compiled, what they tell, and that every method and opponent goes on
as without."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jaxtyping
import pytest
import timm
import torch
from torch import Tensor, nn

import games
import sparring
from sparring import acceleration
from sparring.acceleration.compiled import Compiler
from sparring.contract.toy import Subject
from sparring.methods import registry
from sparring.training import run
from sparring.training.build import build
from sparring.training.compilation import compile_networks, decision, networks
from sparring.training.loop import Training
from sparring.training.run_folder import RunFolder
from sparring.training.settings import TrainingSettings
from told import Told

# PyTorch hides this warning of its own, which is an error in these tests.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
OPPONENTS = list(registry.shipped("opponent"))


@pytest.fixture(autouse=True)
def plain_signatures() -> Iterator[None]:
    """Checks of shapes at run time do not fit into a graph."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def switch_is_put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SPARRING_ACCELERATION", "on")
    yield
    acceleration.allow(True)


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3, 2, 1)
    )


def decided(compile: str, *, steps: int, device: torch.device = CUDA, **stored: str) -> str:
    settings = TrainingSettings.build({"compile": compile})
    return decision(settings, device, num_steps=steps, environment=stored)


def test_a_new_run_decides_by_device_and_planned_steps() -> None:
    assert decided("auto", steps=100_000) == "on"
    assert decided("auto", steps=1000) == "off"
    assert decided("auto", steps=100_000, device=CPU) == "off"
    for device in (CPU, CUDA):
        assert decided("on", steps=1, device=device) == "on"
        assert decided("reduce-overhead", steps=1, device=device) == "on"
        assert decided("off", steps=100_000, device=device) == "off"


def test_a_run_that_goes_on_keeps_its_decision() -> None:
    assert decided("auto", steps=10, compiled="on") == "on"
    assert decided("auto", steps=10, device=CPU, compiled="on") == "on"
    assert decided("auto", steps=100_000, compiled="off") == "off"
    # A run of an older version says nothing: it was not compiled.
    assert decided("auto", steps=100_000, torch="2.11.0") == "off"


def compiled_names(settings: str = "on", device: torch.device = CPU, **more: object) -> list[str]:
    method = games.game("byol").method
    chosen = TrainingSettings.build({"compile": settings, **more})
    compile_networks(method, Compiler(backend="eager"), chosen, device)
    found = networks(method).items()
    return [name for name, network in found if network._compiled_call_impl is not None]


def test_encoder_teacher_and_heads_are_compiled() -> None:
    assert compiled_names() == ["encoder", "predictor", "teacher"]
    around = games.game("simclr", opponent=("perturbation",)).method
    assert list(networks(around)) == ["encoder"]


def test_a_compiled_run_is_plain_where_it_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not compiled_names("auto")  # a run begun on CUDA that goes on here
    assert not compiled_names(sync_batch_norm=True)
    monkeypatch.setattr(acceleration, "is_on", lambda: False)
    assert not compiled_names()


def test_without_triton_a_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparring.training.compilation.find_spec", lambda name: None)
    lines: list[str] = []
    method, settings = games.game("simclr").method, TrainingSettings.build({"compile": "on"})
    compile_networks(method, Compiler(report=lines.append), settings, CUDA)
    assert lines == ["networks are not compiled: Triton is not installed"]
    assert method.encoder._compiled_call_impl is None


def test_recomputed_networks_are_not_compiled() -> None:
    lines: list[str] = []
    settings = {"compile": "on", "checkpoint_activations": True}
    method = games.game("simclr").method
    compile_networks(method, Compiler(report=lines.append), TrainingSettings.build(settings), CUDA)
    assert lines == [
        "networks are not compiled: training.checkpoint_activations=true computes parts of them "
        "again"
    ]
    assert method.encoder._compiled_call_impl is None


def test_a_run_is_compiled_told_stored_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "Compiler", partial(Compiler, backend="eager"))

    def train(folder: str, **options: object) -> tuple[dict[str, Tensor], list[str]]:
        heard = Told()
        settings = {
            "projector": {"dim": 8, "hidden": 8},
            "queue": {"size": 32},
            "training": {
                "image_size": 16,
                "batch_size": 16,
                "epochs": 2,
                "device": "cpu",
                "monitor_images": 32,
                **options,
            },
        }
        out = tmp_path / folder
        data = games.images(64)
        given = {"data": data, "backbone": tiny(), "listener": heard}
        sparring.train(out=out, method="mocov2", settings=settings, **given)  # type: ignore[arg-type]
        if "max_steps" in options:
            sparring.resume(out, **given)  # type: ignore[arg-type]
        environment = json.loads((out / "environment.json").read_text())
        assert environment["compiled"] == options["compile"]
        encoder = sparring.training.encoders.load_encoder(RunFolder(out), backbone=tiny())
        return encoder.state_dict(), [line for line in heard.lines if "compiled" in line]

    plain, silence = train("plain", compile="off")
    ours, lines = train("ours", compile="on")
    stopped, more = train("stopped", compile="on", max_steps=3)
    assert not silence
    assert [line[line.index("at step") :] for line in lines] == [
        "at step 0 (1 of encoder, 1 of teacher)"
    ]
    assert len(more) == 2
    for name, value in plain.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5)
        assert torch.equal(stopped[name], ours[name])


def small_transformer() -> nn.Module:
    torch.manual_seed(0)
    shape = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}
    network: nn.Module = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, dynamic_img_size=True, **shape
    )
    return network


def play(
    subject: Subject,
    folder: Path,
    compiler: Compiler | None,
    *,
    network: Callable[[], nn.Module] = tiny,
) -> tuple[list[float], list[int], dict[str, Tensor]]:
    """Losses of all steps, graphs after each epoch, and the tensors at the end."""
    config = subject.config(training={"compile": "on"})
    game = build(config, network())
    if compiler is not None:
        compile_networks(game.method, compiler, config.training, CPU)
    training = Training(
        config=config, game=game, dataset=games.dataset(64), folder=RunFolder(folder)
    )
    losses, graphs = [], []
    for epoch in range(config.training.epochs):
        for batch in training.feed.steps(epoch):
            losses.append(float(training._run_step(batch)["loss"]))
            training.step += 1
        graphs.append(sum(compiler.graphs.values()) if compiler is not None else 0)
    return losses, graphs, games.state(game.method)


def assert_same_game(
    subject: Subject, folder: Path, *, network: Callable[[], nn.Module] = tiny, settled: int = 1
) -> Compiler:
    """The compiled game goes on as the plain one, and compiles nothing after some epochs."""
    compiler = Compiler(backend="aot_eager")
    losses, graphs, state = play(subject, folder, compiler, network=network)
    plain_losses, _, plain_state = play(subject, folder, None, network=network)
    assert not compiler.failures
    assert graphs[0] > 0
    assert graphs[settled - 1 :] == graphs[settled - 1 : settled] * (len(graphs) - settled + 1)
    assert losses == pytest.approx(plain_losses, rel=1e-4)
    for name, value in plain_state.items():
        torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-4)
    return compiler


def test_an_attack_uses_graphs_without_gradients_of_weights(tmp_path: Path) -> None:
    compiler = assert_same_game(Subject("simclr", ("perturbation",)), tmp_path)
    # Clean views; then, in the second set of norms, the attack, the attacked views, and those of
    # random signs, without gradients.
    assert compiler.graphs == {"encoder": 3, "encoder for images": 1}


@pytest.mark.slow
def test_a_transformer_has_one_graph_per_size_of_crop(tmp_path: Path) -> None:
    settings = {"form": "multi-crop", "views": {"preset": "multi-crop-adco"}}
    compiler = assert_same_game(Subject("adco", (), settings), tmp_path, network=small_transformer)
    assert compiler.graphs == {"encoder": 3, "teacher": 1}  # queries of 16, 12 and 8 px


@pytest.mark.slow
@pytest.mark.parametrize("method", games.METHODS)
def test_every_method_goes_on_as_without_and_compiles_nothing_after_the_first_epoch(
    method: str, tmp_path: Path
) -> None:
    compiler = assert_same_game(Subject(method), tmp_path)
    assert set(compiler.graphs) == set(networks(games.game(method).method))


@pytest.mark.slow
@pytest.mark.parametrize("opponent", OPPONENTS)
@pytest.mark.parametrize("method", ["simclr", "adco", "byol", "acssl"])
def test_every_opponent_does_too(method: str, opponent: str, tmp_path: Path) -> None:
    # Every fourth step measures the excess loss: a game that begins in between is measured in its
    # second epoch for the first time.
    assert_same_game(Subject(method, (opponent,)), tmp_path, settled=2)


@pytest.mark.slow
def test_the_pair_of_generators_with_norms_of_its_own_and_an_attack(tmp_path: Path) -> None:
    own = {"generator_pair": {"norms": "split"}}
    assert_same_game(Subject("simclr", ("generator-pair",), own), tmp_path)
    both = Subject("mocov2", ("generator-pair", "perturbation"))
    assert_same_game(both, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("simclr", {"views": {"preset": "multi-crop-adco"}}),
        ("mocov2", {"key_norm": {"parts": 4}}),
        ("simclr", {"training": {"precision": "bfloat16"}}),
    ],
)
def test_settings_that_make_further_graphs(
    method: str, settings: dict[str, object], tmp_path: Path
) -> None:
    assert_same_game(Subject(method, settings=settings), tmp_path)
