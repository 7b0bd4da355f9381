"""States of versions that measured no excess loss: what they lack keeps its start value."""

from typing import Any

from torch import nn


def may_lack(module: nn.Module) -> None:
    """Let a module load a state that lacks its own entries, which then stay as they are."""
    module.register_load_state_dict_pre_hook(_complete)  # type: ignore[no-untyped-call]


def _complete(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    own = {key: value for key, value in module.state_dict().items() if "." not in key}
    for key, value in own.items():
        state.setdefault(prefix + key, value)
