"""Networks and functions compiled by `torch.compile`, with the plain ones wherever that fails.

Shapes are static, and every function becomes one graph per state: sizes of the inputs, training or
evaluation mode, gradients or none, batch norms. Every graph is counted and told. What cannot be
compiled is computed as it is, which is told too.
"""

import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias, cast

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
class CompilationLog:
    """What was compiled in a run, and what could not be.

    Attributes:
        report: receives the lines; None: nobody is told.
        graphs: number of graphs so far, by the name of what was compiled.
        seconds: time that they took so far.
        failures: reason why something is computed as it is, by its name.
    """

    report: Callable[[str], None] | None = None
    graphs: dict[str, int] = field(default_factory=dict, init=False)
    seconds: float = field(default=0.0, init=False)
    failures: dict[str, str] = field(default_factory=dict, init=False)
    _told: dict[str, int] = field(default_factory=dict, init=False)
    _told_seconds: float = field(default=0.0, init=False)

    def add(self, name: str, *, graphs: int, seconds: float) -> None:
        """Count graphs, and the time until they had been computed once."""
        self.graphs[name] = self.graphs.get(name, 0) + graphs
        self.seconds += seconds

    def fail(self, name: str, error: Exception) -> None:
        """Note, and tell at once, that something is computed as it is from now on."""
        self.failures[name] = _reason(error)
        if self.report is not None:
            self.report(f"{name} is not compiled and computed as it is: {self.failures[name]}")

    def tell(self, step: int) -> None:
        """Report the graphs that are new, in one line; nothing if there are none.

        Args:
            step: step in which they were made.
        """
        if self.graphs == self._told:
            return
        new = {name: n - self._told.get(name, 0) for name, n in self.graphs.items()}
        shown = ", ".join(f"{n} of {name}" for name, n in new.items() if n)
        seconds, again = self.seconds - self._told_seconds, " more" if self._told else ""
        self._told, self._told_seconds = dict(self.graphs), self.seconds
        if self.report is not None:
            number = sum(new.values())
            self.report(
                f"compiled in {seconds:.0f} s at step {step:,}: {number}{again} "
                f"graph{'s' * (number != 1)} ({shown})"
            )


def compiled(
    function: Callable[..., Any],
    *,
    name: str,
    log: CompilationLog,
    backend: Backend = "inductor",
    has_cuda_graphs: bool = False,
) -> Callable[..., Any]:
    """A function as one compiled graph per state of its inputs, with static shapes.

    The first call with inputs of new shapes compiles, forward and backward. If that fails, as for a
    function that PyTorch cannot make one graph of, this and all later calls compute the function as
    it is.

    Args:
        function: pure function of tensors, or one that changes buffers in place.
        name: name in the lines that are told.
        log: receives graphs, seconds and failures.
        backend: backend of `torch.compile`.
        has_cuda_graphs: whether Inductor captures CUDA graphs; results are copied then, as the next
            call overwrites them.
    """
    return _Compiled(function, name, log, backend, has_cuda_graphs)


def compile_network(
    network: nn.Module,
    *,
    name: str,
    log: CompilationLog,
    backend: Backend = "inductor",
    has_cuda_graphs: bool = False,
) -> None:
    """Compile a network in place, as `nn.Module.compile` does: names, parameters and class stay.

    Copies, pickles and saved networks are plain. In evaluation mode without gradients, as in the
    monitor, the network is computed as it is.

    Args:
        network: network on its device, with its final layers. `requires_grad` of its parameters
            must not change any more, since PyTorch 2.11 would not notice.
        name: see `compiled`.
        log: see `compiled`.
        backend: see `compiled`.
        has_cuda_graphs: see `compiled`.
    """
    network._compiled_call_impl = _CompiledNetwork(network, name, log, backend, has_cuda_graphs)


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

    A compiled backward computes all its gradients, also those that nobody asks for; a plain one
    does not, so that plain networks stay as they are.
    """
    global _is_for_images
    before, _is_for_images = _is_for_images, True
    try:
        yield
    finally:
        _is_for_images = before


class _Compiled:
    """Function that is compiled at its first call, or computed as it is after a failure."""

    def __init__(
        self,
        plain: Callable[..., Any],
        name: str,
        log: CompilationLog,
        backend: Backend,
        has_cuda_graphs: bool,
    ) -> None:
        self._plain, self._name, self._log = plain, name, log
        self._backend, self._has_cuda_graphs = backend, has_cuda_graphs
        self._has_failed = False

    def __call__(self, *inputs: Any) -> Any:
        """Result of the function."""
        if self._has_failed:
            return self._plain(*inputs)
        before, start = _count_graphs(), time.monotonic()
        try:
            output = self._graph(*inputs)
        except _compilation_errors() as error:
            self._has_failed = True
            self._log.fail(self._name, error)
            return self._plain(*inputs)
        if (new := _count_graphs() - before) > 0:
            self._log.add(self._name, graphs=new, seconds=time.monotonic() - start)
        return _copied(output) if self._has_cuda_graphs else output

    @cached_property
    def _graph(self) -> Callable[..., Any]:
        _settle_compiler()
        is_named = isinstance(self._backend, str)
        options = _options(self._has_cuda_graphs) if self._backend == "inductor" else None
        return cast(
            Callable[..., Any],
            torch.compile(
                _with_own_code(self._plain),
                backend=self._backend,
                fullgraph=True,
                dynamic=False,
                **({"options": options} if is_named and options else {}),
            ),
        )


class _CompiledNetwork:
    """Compiled call of a network, in one form for training and one for gradients of images."""

    def __init__(
        self,
        network: nn.Module,
        name: str,
        log: CompilationLog,
        backend: Backend,
        has_cuda_graphs: bool,
    ) -> None:
        self._network = network
        more = (log, backend, has_cuda_graphs)
        self._usual = _Compiled(network._call_impl, name, *more)
        self._for_images = _Compiled(_Detached(network).forward, f"{name} for images", *more)

    def __call__(self, *inputs: Tensor) -> Any:
        """Output of the network in its current state."""
        has_gradients = torch.is_grad_enabled()
        if _is_plain or not (has_gradients or self._network.training):
            return self._network._call_impl(*inputs)  # type: ignore[no-untyped-call]
        form = self._for_images if has_gradients and _is_for_images else self._usual
        return form(*inputs)


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
    """Network around which `functional_call` finds no compiled call."""

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
    """Raise PyTorch's limit, and let a backward be compiled with its forward, where a failure can
    still be answered."""
    import torch._dynamo.config as limits
    import torch._functorch.config as autograd

    limits.recompile_limit = max(limits.recompile_limit, MOST_GRAPHS)
    autograd.force_non_lazy_backward_lowering = True


def _options(has_cuda_graphs: bool) -> dict[str, bool]:
    """Inductor's options.

    Dropout draws what it draws without compilation. Mixed reductions are off, since wrong gradients
    were reported (PyTorch issues 190796 and 193061).
    """
    wanted = {
        "fallback_random": True,
        "triton.mix_order_reduction": False,
        "triton.cudagraphs": has_cuda_graphs,
    }
    known = torch._inductor.list_options()
    return {name: value for name, value in wanted.items() if name in known}


def _count_graphs() -> int:
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def _compilation_errors() -> tuple[type[Exception], ...]:
    from torch._dynamo import exc

    return (exc.TorchDynamoException, exc.FailOnRecompileLimitHit)


def _reason(error: Exception) -> str:
    """The first line of an error that says something; a backend's error starts with the backend's
    name."""
    if type(error).__name__ == "FailOnRecompileLimitHit":
        return f"it has had {MOST_GRAPHS} graphs, one per size, mode and set of batch norms"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    return lines[1] if first.endswith("raised:") and len(lines) > 1 else first


def _copied(output: Any) -> Any:
    return torch.utils._pytree.tree_map_only(Tensor, torch.clone, output)
