"""Contract of an evaluation protocol: checks that every protocol must pass, whoever wrote it."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from sparring.contract.check import Check
from sparring.contract.settings import fields_read, models, require_explained
from sparring.contract.toy import SIZE, Subject, images, state
from sparring.data.sources.source import ImageData
from sparring.data.views.views import Views
from sparring.evaluation.catalogue import choose
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.predictions import Predictions
from sparring.evaluation.protocol import PREDICTIONS, Protocol, Result, evaluate
from sparring.methods import registry
from sparring.models.encoder import Encoder
from sparring.training.build import build_encoder


def protocol_checks(
    protocol: str | Protocol,
    *,
    data: tuple[ImageData, ImageData] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[Check]:
    """Independent checks of the contract for one protocol.

    Args:
        protocol: a declaration, or a text that `--protocol` accepts.
        data: images to learn from and images to be scored on; None: toy images of two classes.
        settings: settings of the protocol that make it quick.
    """
    trial = _Trial(protocol, data or (_labelled(64, 0), _labelled(32, 1)), settings)
    promises: list[tuple[str, Callable[[_Trial], None]]] = [
        ("it declares itself", _declares_itself),
        ("its result is what JSON can hold, its headline a share", _result_is_plain),
        ("the same call gives the same digits", _repeats),
        ("it leaves the encoder as it was", _leaves_the_encoder),
        ("it reads every setting", _reads_settings),
    ]
    return [Check(name, partial(run, trial)) for name, run in promises]


class _Trial:
    """Trial of a protocol on toy encoders and some images."""

    def __init__(
        self,
        protocol: str | Protocol,
        data: tuple[ImageData, ImageData],
        settings: Mapping[str, Any] | None,
    ) -> None:
        found = choose([protocol])[0].protocol
        own = {found.name: dict(settings)} if settings else None
        (self.chosen,) = choose([protocol], own)
        self._data = data
        self.predictions: dict[str, Any] = {}
        """What the last run handed over beside its results, by encoder."""

    def run(self, encoders: tuple[Encoder, Encoder] | None = None) -> dict[str, Result]:
        """Results by encoder."""
        trained, untrained = encoders or self.encoders()
        train, test = self._data
        origin = EvaluatedEncoder("untrained", untrained)
        config = Subject(registry.DEFAULT_METHOD).config()
        augment = Views(config.method_settings.views.resolve(SIZE), image_size=SIZE)
        evaluation_data = EvaluationData(
            train,
            test,
            image_size=SIZE,
            seed=0,
            device=torch.device("cpu"),
            views=lambda pixels, draws: augment(pixels, generator=draws)[:2],
            keep=config.data,
            config=config,
        )
        evaluated = [EvaluatedEncoder("trained", trained, origin), origin]

        def keep(encoder: str, _: str, result: Result) -> None:
            self.predictions[encoder] = result.get(PREDICTIONS)

        found = evaluate(evaluated, evaluation_data, [self.chosen], done=keep)
        return {name: results[self.chosen.name] for name, results in found.items() if results}

    def encoders(self) -> tuple[Encoder, Encoder]:
        """Two frozen encoders of different seeds."""
        first, second = (
            build_encoder(Subject(registry.DEFAULT_METHOD).config(seed=seed)).eval()
            for seed in (1, 0)
        )
        return first.requires_grad_(False), second.requires_grad_(False)


def _labelled(count: int, seed: int) -> ImageData:
    return images(count, seed=seed), np.arange(count) % 2


def _declares_itself(trial: _Trial) -> None:
    protocol = trial.chosen.protocol
    assert protocol.question, "question is empty: what its number answers"
    assert protocol.measure or not protocol.headline, "measure is empty: what the number is"
    assert callable(protocol.load_function()), "function is no function"
    for model in models(protocol.load_settings()):
        require_explained(model)


def _result_is_plain(trial: _Trial) -> None:
    protocol = trial.chosen.protocol
    for encoder, result in trial.run().items():
        json.dumps(result, allow_nan=False)
        _require_of_its_images(trial.predictions[encoder], encoder, result)
        if protocol.headline and protocol.headline in result:
            value = result[protocol.headline]
            assert 0 <= value <= 1, f"{encoder}: {protocol.headline} is {value}, not in [0, 1]"
        shown = result.get("table")
        for table in [shown] if isinstance(shown, dict) else shown or []:
            assert {"title", "columns", "rows"} <= table.keys(), "make tables with `table`"


def _require_of_its_images(found: object, encoder: str, result: Result) -> None:
    """Refuse predictions, if there are some, that are not of the images that were scored."""
    if found is None:
        return
    assert isinstance(found, Predictions), (
        f"{encoder}: predictions are of type {type(found).__name__}; make them with "
        "data.classes.predictions(...)"
    )
    assert len(set(found.keys)) == len(found.keys), f"{encoder}: an image is predicted twice"
    images = result.get("test_images", len(found.keys))
    assert len(found.keys) == images, f"{encoder}: predictions of {len(found.keys)} of {images}"


def _repeats(trial: _Trial) -> None:
    first, second = trial.run(), trial.run()
    assert first == second, "two calls on equal encoders and images differ"


def _leaves_the_encoder(trial: _Trial) -> None:
    encoders = trial.encoders()
    before = [state(encoder) for encoder in encoders]
    trial.run(encoders)
    for encoder, tensors in zip(encoders, before, strict=True):
        assert all(torch.equal(value, tensors[n]) for n, value in state(encoder).items())
        assert not any(module.training for module in encoder.modules()), "in training mode"
        assert not any(p.requires_grad for p in encoder.parameters()), "gradients are on"


def _reads_settings(trial: _Trial) -> None:
    with fields_read() as seen:
        trial.run()
    own = trial.chosen.protocol.load_settings()
    unread = {f"{own.__name__}.{name}" for name in own.model_fields} - seen
    assert not unread, f"nobody reads {', '.join(sorted(unread))}"
