"""The error tree: what each exits with, and the sentence that names the nearest word."""

import pytest

from sparring import SparringError, errors
from sparring.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    RunError,
    StorageError,
    TrainingError,
    UsageError,
    unknown_name,
)


@pytest.mark.parametrize("error", [UsageError, ConfigError, DataError, RunError])
def test_what_the_caller_can_mend_exits_with_2_and_is_a_value_error(
    error: type[SparringError],
) -> None:
    assert error.exit_code == 2
    assert issubclass(error, ValueError)


@pytest.mark.parametrize("error", [SparringError, CheckpointError, StorageError, TrainingError])
def test_what_failed_exits_with_1_and_is_no_value_error(error: type[SparringError]) -> None:
    assert error.exit_code == 1
    assert not issubclass(error, ValueError)


def test_every_error_stands_in_the_tree_that_the_module_draws() -> None:
    assert errors.__doc__ is not None
    for name, value in vars(errors).items():
        if isinstance(value, type) and value.__module__ == errors.__name__:
            assert issubclass(value, SparringError)
            assert name in errors.__doc__


def test_unknown_name_suggests_the_nearest() -> None:
    assert unknown_name("method", "mocov", ["adco", "mocov2", "simclr"]) == (
        "unknown method 'mocov'; did you mean 'mocov2'? Accepted: adco, mocov2, simclr"
    )


def test_unknown_name_suggests_nothing_where_nothing_is_near() -> None:
    assert (
        unknown_name("method", "zzz", ["adco", "simclr"])
        == "unknown method 'zzz'. Accepted: adco, simclr"
    )
