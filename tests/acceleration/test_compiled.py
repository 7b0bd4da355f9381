"""A compiled network computes what the plain one does, every graph is counted, and a failure leaves
the plain one."""

import copy
import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor, fx, nn
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.backends.debugging import boxed_nop

from sparring.acceleration import compiled
from sparring.acceleration.compiled import Compiler, as_it_is, gradients_of_images_only
from sparring.models.backbones import Backbone
from sparring.models.encoder import Encoder
from sparring.models.split_norm import adversarial_norms, split_norms, still_statistics
from sparring.models.teacher import Teacher


@pytest.fixture(autouse=True)
def plain_signatures() -> Iterator[None]:
    """Checks of shapes at run time do not fit into a graph."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def network(*, precision: torch.dtype | None = None, is_split: bool = False) -> Encoder:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    head = nn.Sequential(nn.Linear(4, 4, bias=False), nn.BatchNorm1d(4), nn.Linear(4, 3))
    backbone = Backbone(inner, image_size=8)
    encoder = Encoder(backbone, head, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.2))
    encoder.autocast_dtype = precision
    if is_split:
        split_norms(encoder, momentum=0.01)
    return encoder


def images(count: int = 6, size: int = 8) -> Tensor:
    draws = torch.Generator().manual_seed(count + size)
    made = torch.rand(count, 3, size, size, generator=draws)
    return made.contiguous(memory_format=torch.channels_last)


def gradients(part: nn.Module, given: Tensor) -> list[Tensor]:
    loss = part(given).square().sum()
    return list(torch.autograd.grad(loss, list(part.parameters()), materialize_grads=True))


def image_gradient(part: nn.Module, given: Tensor) -> tuple[Tensor, Tensor]:
    watched = given.clone().requires_grad_()
    with gradients_of_images_only():
        loss = part(watched).square().sum()
    (found,) = torch.autograd.grad(loss, watched)
    return loss.detach(), found


def assert_equal(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def pair(backend: str = "aot_eager", **options: Any) -> tuple[Encoder, Encoder, Compiler]:
    """A compiled encoder, the same one plain, and what compiles."""
    ours, theirs = network(**options), network(**options)
    compiler = Compiler(backend=backend)
    compiler.compile_network(ours, name="encoder")
    return ours, theirs, compiler


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_outputs_gradients_and_statistics_are_those_of_the_plain_network(
    precision: torch.dtype | None,
) -> None:
    ours, theirs, compiler = pair(precision=precision)
    for _ in range(2):
        assert_equal(gradients(ours, images()), gradients(theirs, images()))
        assert_equal(image_gradient(ours, images()), image_gradient(theirs, images()))
    assert_equal(list(ours.state_dict().values()), list(theirs.state_dict().values()))
    assert compiler.graphs == {"encoder": 1, "encoder for images": 1}
    assert not compiler.failures


def test_every_state_is_one_graph_and_none_comes_twice() -> None:
    ours, theirs, compiler = pair("eager", is_split=True)

    def play(part: Encoder) -> list[Tensor]:
        found = gradients(part, images())
        with adversarial_norms(part):
            found += gradients(part, images())
            with still_statistics(part):
                found += [part(images())]
        with torch.no_grad():
            found += [part(images())]
        return [*found, part(images(size=12)), part.eval()(images()), part.train()(images())]

    assert_equal(play(ours), play(theirs))
    assert compiler.graphs == {"encoder": 6}
    assert_equal(play(ours), play(theirs))
    assert compiler.graphs == {"encoder": 6}
    assert_equal(list(ours.state_dict().values()), list(theirs.state_dict().values()))


def test_two_passes_before_one_backward() -> None:
    ours, theirs, _ = pair()
    found = []
    for part in (ours, theirs):
        loss = (part(images()) * part(images() + 0.1)).sum()
        found.append(torch.autograd.grad(loss, list(part.parameters())))
    assert_equal(*found)


def test_a_head_alone_and_a_teacher_are_compiled() -> None:
    # `nn.Sequential(...).compile()` compiles nothing in PyTorch 2.11.
    compiler, head = Compiler(backend="aot_eager"), network().projector
    teacher = Teacher(network())
    compiler.compile_network(head, name="head")
    compiler.compile_network(teacher.network, name="teacher")
    head(torch.ones(4, 4))
    plain = network()
    assert_equal([teacher(images())], [plain(images())])
    assert compiler.graphs == {"head": 1, "teacher": 1}
    teacher.ema_update(plain, momentum=0.5)
    assert_equal([teacher(images())], [plain(images())])
    assert compiler.graphs["teacher"] == 1


def test_gradients_of_images_alone_cost_no_gradient_of_a_weight() -> None:
    made = []

    def look(graph: fx.GraphModule, _: Any) -> Any:
        (last,) = [node for node in graph.graph.nodes if node.op == "output"]
        made.append(sum(isinstance(value, fx.Node) for value in last.args[0]))
        return boxed_nop(graph, _)  # type: ignore[no-untyped-call]

    backend = aot_autograd(fw_compiler=boxed_nop, bw_compiler=look)  # type: ignore[no-untyped-call]
    compiler, ours = Compiler(backend=backend), network()
    compiler.compile_network(ours, name="encoder")
    gradients(ours, images())
    image_gradient(ours, images())
    assert made == [len(list(ours.parameters())), 1]
    watched = images().requires_grad_()
    with gradients_of_images_only():
        loss = ours(watched).sum()
    found = torch.autograd.grad(loss, list(ours.parameters()), allow_unused=True)
    assert found == (None,) * len(found)


def test_copies_and_files_hold_the_plain_network() -> None:
    ours, theirs, compiler = pair()
    ours(images())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    torch.save(ours, file := io.BytesIO())
    file.seek(0)
    copies = [
        copy.deepcopy(ours),
        pickle.loads(pickle.dumps(ours)),
        torch.load(file, weights_only=False),
        Teacher(ours).network,
    ]
    for part in copies:
        part(images())
        assert type(part) is Encoder
    assert compiler.graphs == {"encoder": 1}


def test_looks_in_evaluation_mode_are_plain_and_so_is_what_is_done_once() -> None:
    ours, _, compiler = pair()
    with torch.no_grad():
        ours.eval()(images())
    ours.features(images())
    with as_it_is():
        ours.train()(images())
    assert not compiler.graphs


def test_a_backend_that_raises_leaves_the_plain_network_and_a_line() -> None:
    def broken(graph: fx.GraphModule, given: list[Tensor]) -> Callable[..., Any]:
        raise ValueError("no such instruction\nfurther lines")

    lines: list[str] = []
    compiler, ours = Compiler(report=lines.append, backend=broken), network()
    compiler.compile_network(ours, name="encoder")
    for _ in range(2):
        assert_equal(gradients(ours, images()), gradients(network(), images()))
    (line,) = lines
    assert line.startswith("encoder is not compiled and computed as it is: ")
    assert line.endswith("no such instruction")


def test_a_backward_that_cannot_be_compiled_is_answered_in_the_forward() -> None:
    def broken(graph: fx.GraphModule, _: Any) -> Any:
        raise ValueError("no such instruction")

    backend = aot_autograd(fw_compiler=boxed_nop, bw_compiler=broken)  # type: ignore[no-untyped-call]
    compiler, ours = Compiler(backend=backend), network()
    compiler.compile_network(ours, name="encoder")
    assert_equal(gradients(ours, images()), gradients(network(), images()))
    assert "encoder" in compiler.failures


def test_a_network_that_is_no_single_graph_is_computed_as_it_is() -> None:
    class Branching(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            return given * float(given.sum()) if given.sum() > 0 else given

    compiler, part = Compiler(backend="eager"), Branching()
    compiler.compile_network(part, name="own network")
    assert float(part(torch.full((2,), 3.0)).sum()) == 36.0
    assert list(compiler.failures) == ["own network"]


def test_the_limit_of_graphs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "MOST_GRAPHS", 2)
    lines: list[str] = []
    double = Compiler(report=lines.append, backend="eager").compiled(lambda x: 2 * x, name="views")
    with torch._dynamo.config.patch(recompile_limit=2):
        for size in (2, 3, 4, 5):
            assert float(double(torch.ones(size)).sum()) == 2 * size
    (line,) = lines
    assert "views is not compiled and computed as it is: it has had 2 graphs" in line


def test_networks_of_one_class_do_not_share_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "MOST_GRAPHS", 2)
    compiler = Compiler(backend="eager")
    with torch._dynamo.config.patch(recompile_limit=2):
        for name in ("first", "second", "third"):
            compiler.compile_network(part := network().projector, name=name)
            part(torch.ones(4, 4))
    assert compiler.graphs == {"first": 1, "second": 1, "third": 1}
    assert not compiler.failures


def test_changed_requires_grad_loses_no_gradient() -> None:
    # PyTorch 2.11 keeps the graph in which they had none.
    ours, theirs, compiler = (
        network().requires_grad_(False),
        network(),
        Compiler(backend="aot_eager"),
    )
    compiler.compile_network(ours, name="encoder")
    for part in (ours, theirs):
        part(images())
    ours.requires_grad_(True)
    assert_equal(gradients(ours, images()), gradients(theirs, images()))
    assert "requires_grad" in compiler.failures["encoder"]


def test_new_graphs_are_told_once_in_one_line() -> None:
    lines: list[str] = []
    compiler = Compiler(report=lines.append, backend="eager")
    first = compiler.compiled(lambda x: x + 1, name="views")
    second = compiler.compiled(lambda x: x - 1, name="encoder")
    first(torch.ones(2)), second(torch.ones(2)), second(torch.ones(3))
    compiler.end_step(0)
    compiler.end_step(1)
    first(torch.ones(4))
    compiler.end_step(1200)
    told = [line.replace(line[line.index(" in ") : line.index(" at ")], "") for line in lines]
    assert told == [
        "compiled 3 graphs at step 0 (1 of views, 2 of encoder)",
        "compiled 1 more graph at step 1,200 (1 of views)",
    ]
