"""The contract of methods, opponents and protocols, for anyone's class.

    from sparring.testing import check_method
    check_method(BarlowTwins)

Each promise is a check that stands alone, so that a test suite can run them one by one:

    @pytest.mark.parametrize("check", method_checks(BarlowTwins), ids=lambda check: check.name)
    def test_contract(check):
        check.run()

The library's own methods are held to exactly these checks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sparring.contract import method_checks as _methods
from sparring.contract import opponent_checks as _opponents
from sparring.contract.check import Check, run_all
from sparring.contract.protocol_checks import protocol_checks
from sparring.contract.toy import Subject
from sparring.data.sources.source import ImageData
from sparring.evaluation.protocol import Protocol
from sparring.methods import registry
from sparring.methods.method import Method

__all__ = [
    "Check",
    "check_method",
    "check_opponent",
    "check_protocol",
    "method_checks",
    "opponent_checks",
    "protocol_checks",
]


def method_checks(
    method: str | type[Method], *, settings: Mapping[str, Any] | None = None
) -> list[Check]:
    """The contract of a method, check by check.

    Args:
        method: its class, its name, `FILE.py:CLASS` or `package.module:CLASS`.
        settings: further settings of every toy game, as a nested dictionary; what a method always
            needs stands in its own `toy`.
    """
    return _methods.method_checks(
        Subject(registry.give("method", method), (), dict(settings or {}))
    )


def check_method(
    method: str | type[Method],
    *,
    settings: Mapping[str, Any] | None = None,
    is_quick: bool = False,
) -> None:
    """Hold a method to the contract.

    Only the named player moves; a step reads nothing from the device; after a divergence nothing
    changes; equal seeds give equal bits; a resumed run repeats every bit; two processes play as
    one; every setting is read and explained; every metric has a meaning; the encoder can be rebuilt
    without the method; opponents can play around it; the encoder learns.

    Args:
        method: its class, its name, `FILE.py:CLASS` or `package.module:CLASS`.
        settings: further settings of every toy game.
        is_quick: leave out what takes a second or more, such as resuming, metrics and learning.

    Raises:
        AssertionError: one line per promise that is not kept.
    """
    name = registry.give("method", method)
    checks = method_checks(name, settings=settings)
    for opponent in registry.shipped("opponent"):
        checks += [
            check
            for check in _opponents.opponent_checks(opponent, [name])
            if check.name.startswith("around")
        ]
    run_all([check for check in checks if not (is_quick and check.is_slow)], what=name)


def opponent_checks(
    opponent: str | type[Method], *, around: Sequence[str | type[Method]] | None = None
) -> list[Check]:
    """The contract of an opponent in image space, check by check.

    Args:
        opponent: its class, its name, `FILE.py:CLASS` or `package.module:CLASS`.
        around: methods around which it plays; None: all that the library ships.
    """
    methods = [registry.give("method", method) for method in around or registry.shipped("method")]
    return _opponents.opponent_checks(registry.give("opponent", opponent), methods)


def check_opponent(
    opponent: str | type[Method], *, around: Sequence[str | type[Method]] | None = None
) -> None:
    """Hold an opponent in image space to the contract, around every method.

    It begins where the method begins; switched off, it vanishes; equal seeds, resumed runs and two
    processes give equal results; what a run leaves behind is the clean network.

    Args:
        opponent: its class, its name, `FILE.py:CLASS` or `package.module:CLASS`.
        around: methods around which it plays; None: all that the library ships.

    Raises:
        AssertionError: one line per promise that is not kept.
    """
    run_all(opponent_checks(opponent, around=around), what=registry.give("opponent", opponent))


def check_protocol(
    protocol: str | Protocol,
    *,
    data: tuple[ImageData, ImageData] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Hold an evaluation protocol to the contract.

    Its result is what JSON can hold, its headline a number in [0, 1]; its predictions, if it hands
    some over, are of the images that it scored; equal calls give equal
    digits; the encoder is left as it was, to the bit; every setting is read and explained.

    Args:
        protocol: a declaration, its name, `FILE.py:NAME` or `package.module:NAME`.
        data: images to learn from and images to score; None: toy images of two classes.
        settings: of the protocol; those that make it quick.

    Raises:
        AssertionError: one line per promise that is not kept.
    """
    name = protocol if isinstance(protocol, str) else protocol.name
    run_all(protocol_checks(protocol, data=data, settings=settings), what=name)
