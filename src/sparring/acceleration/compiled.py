"""Networks and functions compiled by `torch.compile`, with the plain ones wherever that fails.

Shapes are static, and a function becomes one graph per state: sizes of the inputs, training or
evaluation mode, gradients or none, batch norms. Every graph is counted and told. What cannot be
compiled is computed as it is, which is told too.
"""

import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

Backend: TypeAlias = str | Callable[..., Any]
"""Backend of `torch.compile`: its name, or a function."""

MOST_GRAPHS = 64
"""Graphs of one function, after which it is computed as it is; PyTorch's own limit is 8, which all
networks of one class would share."""

_is_plain = False
_is_for_images = False


@dataclass(kw_only=True)
class Compiler:
    """What compiles in one run, and tells what it did.

    Attributes:
        report: receives the lines; None: nobody is told.
        backend: backend of `torch.compile`.
        has_cuda_graphs: whether Inductor captures CUDA graphs. Results are copied then, as the next
            call overwrites them.
        graphs: number of graphs so far, by the name of what was compiled.
        seconds: time until they had been computed once.
        failures: reason why something is computed as it is, by its name.
    """

    report: Callable[[str], None] | None = None
    backend: Backend = "inductor"
    has_cuda_graphs: bool = False
    graphs: dict[str, int] = field(default_factory=dict, init=False)
    seconds: float = field(default=0.0, init=False)
    failures: dict[str, str] = field(default_factory=dict, init=False)
    _told: dict[str, int] = field(default_factory=dict, init=False)
    _told_seconds: float = field(default=0.0, init=False)

    def compiled(self, function: Callable[..., Any], *, name: str) -> Callable[..., Any]:
        """A function as one compiled graph per state of its inputs, with static shapes.

        The first call with inputs of new shapes compiles, forward and backward. If that fails, as
        for a function that does not fit into one graph, this and all later calls compute the
        function as it is.

        Args:
            function: function of tensors, by position, that may change buffers in place.
            name: name in the lines that are told.
        """
        return _Compiled(self, function, name)

    def compile_network(self, network: nn.Module, *, name: str) -> None:
        """Compile a network in place, as `nn.Module.compile` does: names, parameters and class
        stay.

        Copies, pickles and saved networks are plain. In evaluation mode without gradients, as in
        the monitor, the network is computed as it is.

        Args:
            network: network on its device, with its final layers.
            name: name in the lines that are told.
        """
        network._compiled_call_impl = _CompiledNetwork(self, network, name)

    def end_step(self, step: int) -> None:
        """Report new graphs, if any, in one line, and let captured graphs reuse their memory.

        Args:
            step: step in which the graphs were made.
        """
        if self.has_cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        if self.graphs == self._told:
            return
        new = {name: n - self._told.get(name, 0) for name, n in self.graphs.items()}
        shown = ", ".join(f"{n} of {name}" for name, n in new.items() if n)
        seconds, again = self.seconds - self._told_seconds, "more " if self._told else ""
        self._told, self._told_seconds = dict(self.graphs), self.seconds
        if self.report is not None:
            number = sum(new.values())
            self.report(
                f"compiled {number} {again}graph{'s' * (number != 1)} in {seconds:.0f} s at step "
                f"{step:,} ({shown})"
            )

    def add(self, name: str, *, graphs: int, seconds: float) -> None:
        """Count graphs, with the time until they had been computed once."""
        self.graphs[name] = self.graphs.get(name, 0) + graphs
        self.seconds += seconds

    def fail(self, name: str, reason: str) -> None:
        """Note, and report at once, that something is computed as it is from now on."""
        self.failures[name] = reason
        if self.report is not None:
            self.report(f"{name} is not compiled and computed as it is: {reason}")


@contextmanager
def as_it_is() -> Iterator[None]:
    """Within the context, compiled networks are computed as they are: for what is done once."""
    global _is_plain
    before, _is_plain = _is_plain, True
    try:
        yield
    finally:
        _is_plain = before


@contextmanager
def gradients_of_images_only() -> Iterator[None]:
    """Within the context, the parameters of compiled networks get no gradient.

    A compiled backward computes all its gradients, also those that nobody asks for. A plain one
    does not, so plain networks are called as ever.
    """
    global _is_for_images
    before, _is_for_images = _is_for_images, True
    try:
        yield
    finally:
        _is_for_images = before


class _Compiled:
    """Function that is compiled at its first call, or computed as it is after a failure."""

    def __init__(self, compiler: Compiler, plain: Callable[..., Any], name: str) -> None:
        self._compiler, self._plain, self._name = compiler, plain, name
        self._has_failed = False

    def __call__(self, *inputs: Any) -> Any:
        """Result of the function."""
        if self._has_failed:
            return self._plain(*inputs)
        before, start = _count_graphs(), time.monotonic()
        try:
            output = self._graph(*inputs)
        except _compilation_errors() as error:
            self.fail(_reason(error))
            return self._plain(*inputs)
        if (new := _count_graphs() - before) > 0:
            self._compiler.add(self._name, graphs=new, seconds=time.monotonic() - start)
        return _copied(output) if self._compiler.has_cuda_graphs else output

    def fail(self, reason: str) -> None:
        """Compute the function as it is from now on."""
        if not self._has_failed:
            self._has_failed = True
            self._compiler.fail(self._name, reason)

    @cached_property
    def _graph(self) -> Callable[..., Any]:
        _settle_compiler()
        backend = self._compiler.backend
        return torch.compile(
            _with_own_code(self._plain),
            backend=backend,
            fullgraph=True,
            dynamic=False,
            options=_options(self._compiler) if backend == "inductor" else None,
        )


class _CompiledNetwork:
    """Compiled call of a network, in one form for training and one for gradients of images."""

    def __init__(self, compiler: Compiler, network: nn.Module, name: str) -> None:
        self._network = network
        self._usual = _Compiled(compiler, network._call_impl, name)
        self._for_images = _Compiled(compiler, _Detached(network).forward, f"{name} for images")
        self._parameters = list(network.parameters())
        self._learning = [parameter.requires_grad for parameter in self._parameters]

    def __call__(self, *inputs: Tensor) -> Any:
        """Output of the network in its current state."""
        has_gradients = torch.is_grad_enabled()
        if _is_plain or not (has_gradients or self._network.training):
            return self._network._call_impl(*inputs)  # type: ignore[no-untyped-call]
        if has_gradients and _is_for_images:
            return self._for_images(*inputs)
        if [parameter.requires_grad for parameter in self._parameters] != self._learning:
            # PyTorch 2.11 would go on with the graph it has, and lose gradients.
            self._usual.fail("requires_grad of its parameters has changed")
        return self._usual(*inputs)


class _Detached(nn.Module):
    """Network whose parameters are constants; buffers change in place, as in the network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.inner = _Inner(network)

    def forward(self, *inputs: Tensor) -> Any:
        """Output of the network."""
        constants = {name: value.detach() for name, value in self.inner.named_parameters()}
        return torch.func.functional_call(self.inner, constants, inputs)


class _Inner(nn.Module):
    """Network within which `functional_call` does not meet the compiled call."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Any:
        """Output of the network."""
        return self.network._call_impl(*inputs)  # type: ignore[no-untyped-call]


def _with_own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """Call of the function in a code object of its own, by which PyTorch keeps and limits its
    graphs."""

    def call(*inputs: Any) -> Any:
        return function(*inputs)

    return types.FunctionType(
        call.__code__.replace(), call.__globals__, call.__name__, None, call.__closure__
    )


def _settle_compiler() -> None:
    """Raise PyTorch's limit, and have a backward compiled with its forward, where a failure can
    still be answered."""
    import torch._dynamo.config as limits
    import torch._functorch.config as autograd

    limits.recompile_limit = max(limits.recompile_limit, MOST_GRAPHS)
    autograd.force_non_lazy_backward_lowering = True


def _options(compiler: Compiler) -> dict[str, Any]:
    """Inductor's options.

    Dropout draws what it draws without compilation. Mixed reductions are off, since wrong gradients
    were reported (PyTorch issues 190796 and 193061).
    """
    from torch._inductor import list_options

    wanted = {
        "fallback_random": True,
        "triton.mix_order_reduction": False,
        "triton.cudagraphs": compiler.has_cuda_graphs,
    }
    return {name: value for name, value in wanted.items() if name in list_options()}


def _count_graphs() -> int:
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def _compilation_errors() -> tuple[type[Exception], ...]:
    from torch._dynamo import exc

    return (exc.TorchDynamoException, exc.FailOnRecompileLimitHit)


def _reason(error: Exception) -> str:
    """First line of an error that says something; a backend's starts with the backend's name."""
    if type(error).__name__ == "FailOnRecompileLimitHit":
        return f"it has had {MOST_GRAPHS} graphs, one per size, mode and set of batch norms"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    return lines[1] if first.endswith("raised:") and len(lines) > 1 else first


def _copied(output: Any) -> Any:
    return torch.utils._pytree.tree_map_only(Tensor, torch.clone, output)
