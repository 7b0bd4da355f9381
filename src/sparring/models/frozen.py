"""Frozen layers of a network: parameters without gradients, and the batch norms among them."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def frozen_parameters(module: nn.Module) -> frozenset[str]:
    """Names of the parameters that require no gradient."""
    return frozenset(
        name for name, parameter in module.named_parameters() if not parameter.requires_grad
    )


def frozen_norms(module: nn.Module) -> frozenset[str]:
    """Names of the batch norms in parts whose parameters are all frozen."""
    return frozenset(
        ".".join(filter(None, [name, inner]))
        for name, part in module.named_modules()
        if _is_frozen(part)
        for inner, norm in part.named_modules()
        if isinstance(norm, _BatchNorm)
    )


def hold_norms(module: nn.Module, names: frozenset[str]) -> None:
    """Put these batch norms of a module into evaluation mode, so that they keep their
    statistics."""
    for name in names:
        module.get_submodule(name).eval()


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
