"""Domains held out: pretraining never sees them, their labels only score, and the number is what it
says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from domain_images import CLASSES, DOMAINS, in_memory, write_folders, write_parquet
from tiny_encoders import encoder, evaluated_encoder, state_digest

import games
from sparring.config import merged
from sparring.data.dataset import Dataset
from sparring.data.sources.arrays import Arrays
from sparring.data.sources.domains import DomainSource
from sparring.errors import ConfigError, DataError
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.frozen.logistic import linear_probe
from sparring.evaluation.pretraining_again import domains as module
from sparring.evaluation.pretraining_again.domains import DomainsSettings, domains, linear_accuracy
from sparring.evaluation.pretraining_again.held_out_domains import held_out, opened
from sparring.evaluation.pretraining_again.pretraining import Pretrained, pretrained, run_config

LINEAR = {"fractions": (0.25, 0.5), "fine_tune_from": 2.0, "draws": 2}


def evaluation_data(
    data: Any = None, folder: Path | None = None, **settings: Any
) -> EvaluationData:
    config = games.config("simclr", **merged({"training": {"epochs": 1}}, settings))
    return EvaluationData(
        data if data is not None else in_memory(), image_size=16, config=config, folder=folder
    )


def settings(**changes: Any) -> DomainsSettings:
    return DomainsSettings.build({**LINEAR, **changes})


def relabelled(source: DomainSource, labels: np.ndarray) -> DomainSource:
    pixels = np.stack([np.asarray(source.read(i)) for i in range(len(source))])
    return DomainSource(Arrays(pixels, labels), source.domains(), domain_names=source.domain_names)


@pytest.fixture
def pretrainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Dataset]]:
    """What was handed over to be pretrained on, without the pretraining."""
    asked: list[tuple[str, Dataset]] = []

    def noted(images: Dataset, place: str, **_: object) -> Pretrained:
        asked.append((place, images))
        return Pretrained(encoder(seed=len(asked)), encoder())

    monkeypatch.setattr(module, "pretrained", noted)
    return asked


def test_pretraining_is_never_shown_the_domain_held_out(
    tmp_path: Path, pretrainings: list[tuple[str, Dataset]]
) -> None:
    domains(evaluated_encoder(), evaluation_data(write_folders(tmp_path / "images", 6)), settings())
    assert [place for place, _ in pretrainings] == [f"domains/without-{name}" for name in DOMAINS]
    for name, (_, images) in zip(DOMAINS, pretrainings, strict=True):
        assert {key.split("/")[0] for key in images.keys} == set(DOMAINS) - {name}
        assert len(images) == 2 * 3 * 6


def test_the_classifier_learns_from_the_others_and_is_scored_on_all_of_the_domain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Against features and indices looked up by hand, with a probe in the place of ours."""
    seen: list[tuple[int, ...]] = []
    work, own = evaluation_data(), evaluated_encoder()
    images = opened(work)
    pixels = own.encoder.features(
        images.dataset.images(np.arange(len(images.classes))).float() / 255
    )

    def noted(
        train: torch.Tensor,
        labels: torch.Tensor,
        test: torch.Tensor,
        targets: torch.Tensor,
        *,
        seed: int,
    ) -> float:
        rows = (train[:, None] - pixels).abs().amax(-1).argmin(1)
        assert torch.equal(images.classes[rows], labels)
        assert torch.allclose(test, pixels[images.domains == len(seen) // 4], atol=1e-5)
        assert torch.equal(targets, images.classes[images.domains == len(seen) // 4])
        seen.append(tuple(rows.tolist()))
        return len(seen) / 100

    monkeypatch.setattr(module, "linear_accuracy", noted)
    result = domains(own, work, settings(pretrain="run"))
    for number, rows in enumerate(seen):
        assert (images.domains[list(rows)] != number // 4).all()
        assert len(rows) == len(set(rows)) == 6 * (2, 2, 4, 4)[number % 4]
    assert set(seen[0]) < set(seen[2]), "a draw's smaller fraction lies within the larger one"
    assert seen[0] != seen[1]
    assert result["accuracy"] == pytest.approx(np.mean([1, 2, 5, 6, 9, 10]) / 100)
    assert result["spread"] == pytest.approx(0.01 / 2**0.5)
    assert result["domains"]["photo"]["accuracies"] == [[0.05, 0.06], [0.07, 0.08]]


@pytest.mark.slow
def test_the_labels_of_the_domain_held_out_change_nothing_before_its_score(tmp_path: Path) -> None:
    source = in_memory()
    labels = np.array([CLASSES[label] for label in source.labels()])  # type: ignore[union-attr]
    inside = source.domains() == 1
    labels[inside] = np.random.default_rng(0).permutation(labels[inside])
    found = []
    for number, data in enumerate((source, relabelled(source, labels))):
        work = evaluation_data(data, tmp_path / str(number))
        result = domains(evaluated_encoder(), work, settings(hold_out="photo", draws=1))
        case = held_out(opened(work), "photo")
        weights = (
            tmp_path / str(number) / "domains" / "without-photo" / "backbone.safetensors"
        ).read_bytes()
        found.append((weights, case.drawn(0.25, draw=0, seed=0).tolist(), result["accuracy"]))
    assert found[0][:2] == found[1][:2]
    assert found[0][2] > 0.7
    assert found[1][2] < 0.6


@pytest.mark.slow
def test_what_tells_the_classes_apart_is_learned_and_noise_is_not() -> None:
    """Colours carry over to a domain; labels drawn by lot do not, however well the classifier fits
    them."""
    source = in_memory(20)
    lots = relabelled(source, np.random.default_rng(0).permutation(np.asarray(source.labels())))
    scores = [
        domains(evaluated_encoder(), evaluation_data(data), settings(pretrain="run", draws=1))[
            "accuracy"
        ]
        for data in (source, lots)
    ]
    assert scores[0] > 0.7
    assert scores[1] < 0.5


@pytest.mark.slow
def test_the_untrained_encoder_is_the_one_from_which_every_pretraining_starts(
    tmp_path: Path,
) -> None:
    """So it is scored without pretraining anything."""
    work = evaluation_data(in_memory(), tmp_path)
    others = opened(work).dataset
    start = pretrained(others, "x", config=run_config(work), data=work).untrained
    again = pretrained(others, "y", config=run_config(work, epochs=2), data=work).untrained
    assert state_digest(start) == state_digest(again)
    before = sorted(tmp_path.rglob("*"))
    result = domains(EvaluatedEncoder("untrained", start), work, settings(draws=1))
    assert sorted(tmp_path.rglob("*")) == before
    assert "from which the pretraining starts" in result["note"]


@pytest.mark.slow
def test_trained_encoders_are_those_of_the_folders(tmp_path: Path) -> None:
    """The protocol's number is that of the encoder that its folder holds."""
    work = evaluation_data(in_memory(), tmp_path)
    asked = settings(hold_out=["sketch"], epochs=2, draws=1)
    result = domains(evaluated_encoder(), work, asked)
    case = held_out(opened(work), "sketch")
    images = module.dataset_subset(opened(work).dataset, case.others.numpy())
    kept = pretrained(
        images, "domains/without-sketch", config=run_config(work, epochs=2), data=work
    ).trained
    assert (
        domains(
            EvaluatedEncoder("trained", kept),
            work,
            settings(hold_out=["sketch"], draws=1, pretrain="run"),
        )["accuracy"]
        == result["accuracy"]
    )
    assert "2 epochs each; the run's own encoder plays no part" in result["note"]


def test_every_domain_is_scored_with_the_encoder_pretrained_without_it(
    pretrainings: list[tuple[str, Dataset]],
) -> None:
    asked = {"draws": 1, "fractions": (0.5,)}
    found = domains(evaluated_encoder(), evaluation_data(), settings(**asked))["domains"]
    for number, name in enumerate(DOMAINS):
        own = domains(
            evaluated_encoder(seed=number + 1),
            evaluation_data(),
            settings(hold_out=name, pretrain="run", **asked),
        )["domains"]
        assert found[name] == own[name]
    assert len(pretrainings) == 3


@pytest.mark.slow
def test_two_evaluations_give_the_same_digits(tmp_path: Path) -> None:
    asked = settings(
        draws=1, fine_tune_from=0.5, tuning={"steps": 3, "batch_size": 8}, hold_out="ink"
    )
    results = [
        domains(evaluated_encoder(), evaluation_data(in_memory(), tmp_path / str(number)), asked)
        for number in range(2)
    ]
    assert results[0] == results[1]
    # and again from what the second one has kept
    assert (
        domains(evaluated_encoder(), evaluation_data(in_memory(), tmp_path / "1"), asked)
        == results[1]
    )


@pytest.mark.slow
def test_folders_and_parquet_give_the_same_digits(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    folders = write_folders(tmp_path / "images", 6)
    parquet = write_parquet(
        tmp_path / "all.parquet", folders, names={"label": CLASSES, "domain": DOMAINS}
    )
    asked = settings(hold_out="photo", fractions=(0.25,))
    first, second = (
        domains(evaluated_encoder(), evaluation_data(data, tmp_path / str(i)), asked)
        for i, data in enumerate((folders, parquet))
    )
    assert first == second


def test_the_encoder_itself_never_learns(tmp_path: Path) -> None:
    own = evaluated_encoder()
    before = state_digest(own.encoder)  # type: ignore[arg-type]
    asked = {
        "draws": 1,
        "hold_out": "ink",
        "fine_tune_from": 0.5,
        "tuning": {"steps": 2, "batch_size": 8},
    }
    domains(own, evaluation_data(folder=tmp_path), settings(pretrain="run", **asked))
    domains(own, evaluation_data(folder=tmp_path), settings(**asked))
    assert state_digest(own.encoder) == before  # type: ignore[arg-type]


def test_from_a_fraction_on_the_whole_network_is_fine_tuned_with_the_rates_of_the_encoder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def noted(
        own: torch.nn.Module, images: Dataset, rows: torch.Tensor, labels: torch.Tensor, **more: Any
    ) -> Any:
        calls.append((len(rows), more["settings"].steps, own.training, more["num_classes"]))
        return own

    monkeypatch.setattr(module, "fine_tuned", noted)
    monkeypatch.setattr(
        module,
        "predictions",
        lambda classifier, images, rows: torch.zeros(len(rows), dtype=torch.long),
    )
    asked = settings(
        pretrain="run",
        hold_out="ink",
        draws=1,
        fine_tune_from=0.5,
        tuning={"steps": 7},
        scratch={"steps": 9},
    )
    for name, steps in {"trained": 7, "start weights": 7, "untrained": 9}.items():
        result = domains(evaluated_encoder(name=name), evaluation_data(), asked)
        assert calls.pop() == (24, steps, True, 3)
        assert not calls
        assert result["domains"]["ink"]["accuracies"][1] == [pytest.approx(1 / 3)]


@pytest.mark.slow
def test_the_table_shows_every_domain_beside_chance(tmp_path: Path) -> None:
    source = write_folders(tmp_path / "images", 6, without=[("ink", "owl")])
    table = domains(
        evaluated_encoder(), evaluation_data(source), settings(pretrain="run", draws=1)
    )["table"]
    assert table["columns"][2:4] == ["25 % labels %", "25 % labels, spread %"]
    assert table["columns"][-2:] == ["commonest %", "chance %"]
    assert [row[:2] for row in table["rows"]] == [
        ["ink", 12],
        ["photo", 18],
        ["sketch", 18],
        ["mean", 48],
    ]
    assert [row[-2:] for row in table["rows"]][:2] == [
        [0.5, pytest.approx(1 / 3)],
        [pytest.approx(1 / 3), pytest.approx(1 / 3)],
    ]
    for column in range(2, 8, 2):
        assert table["rows"][3][column] == pytest.approx(
            np.mean([row[column] for row in table["rows"][:3]])
        )


def test_a_class_that_only_the_domain_held_out_shows_counts_as_errors(tmp_path: Path) -> None:
    source = write_folders(tmp_path / "images", 6, without=[("photo", "owl"), ("sketch", "owl")])
    found = domains(
        evaluated_encoder(),
        evaluation_data(source),
        settings(pretrain="run", draws=1, fractions=(0.5,)),
    )["domains"]
    assert found["ink"]["images_of_unseen_classes"] == 6
    assert max(found["ink"]["accuracies"][0]) <= 2 / 3
    assert "images_of_unseen_classes" not in found["photo"]


def test_a_class_that_only_one_side_shows_is_told_by_name(tmp_path: Path) -> None:
    source = write_folders(tmp_path / "images", 2, without=[("photo", "owl"), ("sketch", "owl")])
    images = opened(evaluation_data(source))
    assert held_out(images, "ink").notes == (
        "the domains besides 'ink' do not show 'owl': the images of the domain 'ink' of it count "
        "as errors",
    )
    assert held_out(images, "photo").notes == (
        "the images of the domain 'photo' do not show 'owl'",
    )


def test_a_domain_without_a_class_of_the_others_is_refused() -> None:
    source = in_memory(2)
    labels = np.array([CLASSES[label] for label in source.labels()])  # type: ignore[union-attr]
    labels[:6] = "0"  # those of ink
    images = opened(evaluation_data(relabelled(source, labels)))
    with pytest.raises(DataError, match="no class is in both sets: the domains besides 'ink' show"):
        held_out(images, "ink")


def test_the_smallest_fraction_labels_one_image_of_each_class_in_each_domain() -> None:
    work = evaluation_data()
    images = opened(work)
    case = held_out(images, "ink")
    rows = case.drawn(1e-6, draw=0, seed=0)
    assert sorted(
        zip(images.domains[rows].tolist(), images.classes[rows].tolist(), strict=True)
    ) == [(d, c) for d in (1, 2) for c in range(3)]
    assert len(case.drawn(1.0, draw=0, seed=0)) == 48
    assert not torch.equal(rows, case.drawn(1e-6, draw=0, seed=1))


def test_images_of_unknown_class_may_be_pretrained_on_but_are_neither_labelled_nor_scored() -> None:
    source = in_memory()
    labels = np.array([CLASSES[label] for label in source.labels()])  # type: ignore[union-attr]
    labels[[0, 30]] = ""  # one of ink, one of photo
    case = held_out(opened(evaluation_data(relabelled(source, labels))), "ink")
    assert len(case.tested) == 23
    assert 30 in case.others.tolist()
    assert len(case.others) == 48
    assert 30 not in case.drawn(1.0, draw=0, seed=0).tolist()


def test_labels_too_few_to_choose_a_penalty_on_get_a_fixed_one() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(4)
    centres = torch.randn(4, 16, generator=draw)
    train, test = (
        centres + 0.1 * torch.randn(4, 16, generator=draw),
        centres.repeat(5, 1) + 0.1 * torch.randn(20, 16, generator=draw),
    )
    assert linear_accuracy(train, labels, test, labels.repeat(5), seed=0) == 1.0
    assert linear_accuracy(train, labels, test, torch.full((20,), -1), seed=0) == 0.0
    with pytest.raises(DataError):
        linear_probe(train, labels, test, labels.repeat(5), seed=0)
    two = train.repeat(2, 1), labels.repeat(2)
    assert (
        linear_accuracy(*two, test, labels.repeat(5), seed=3)
        == linear_probe(*two, test, labels.repeat(5), seed=3).accuracy
    )


def test_two_domains_of_one_label_each_are_scored(tmp_path: Path) -> None:
    source = write_folders(tmp_path / "images", 6, without=[("sketch", name) for name in CLASSES])
    result = domains(
        evaluated_encoder(), evaluation_data(source), settings(pretrain="run", fractions=(0.01,))
    )
    assert result["domains"]["ink"]["labelled_images"] == [3]
    assert result["accuracy"] > 0.4


def test_the_images_given_for_scoring_go_before_those_of_the_run() -> None:
    work = evaluation_data((np.zeros((20, 16, 16, 3), np.uint8), np.arange(20) % 2))
    work.test = in_memory()
    assert len(opened(work).classes) == 72
    work.train, work.test = None, None
    with pytest.raises(DataError, match="no images given"):
        opened(work)


def test_a_run_too_large_for_the_others_is_refused_before_anything_is_pretrained(
    pretrainings: list[tuple[str, Dataset]],
) -> None:
    work = evaluation_data(training={"batch_size": 64})
    with pytest.raises(
        ConfigError, match="ink held out: 48 images are fewer than the run's batch of 64"
    ):
        domains(evaluated_encoder(), work, settings())
    assert not pretrainings


def test_an_unknown_domain_is_answered_with_the_nearest(
    pretrainings: list[tuple[str, Dataset]],
) -> None:
    with pytest.raises(
        ConfigError,
        match=r"domains.hold_out: unknown domain 'photos'; "
        r"did you mean 'photo'\? Accepted: ink, photo",
    ):
        domains(evaluated_encoder(), evaluation_data(), settings(hold_out=("ink", "photos")))
    assert not pretrainings


def test_what_cannot_be_scored_is_said_in_one_line(tmp_path: Path) -> None:
    source = in_memory()
    labels = np.array([CLASSES[label] for label in source.labels()])  # type: ignore[union-attr]
    labels[source.domains() == 0] = ""
    with pytest.raises(DataError, match="no image of the domain 'ink' has a class"):
        domains(
            evaluated_encoder(),
            evaluation_data(relabelled(source, labels)),
            settings(pretrain="run"),
        )
    labels = np.where(source.domains() == 0, labels, "cat")
    labels[0:2] = ["cat", "dog"]
    with pytest.raises(DataError, match="the domains besides 'ink' show fewer than two classes"):
        domains(
            evaluated_encoder(),
            evaluation_data(relabelled(source, labels)),
            settings(pretrain="run"),
        )
    with pytest.raises(ConfigError, match=r"fractions.0"):
        settings(fractions=(1.5,))
    with pytest.raises(ConfigError, match="fractions"):
        settings(fractions=())


@pytest.mark.slow
def test_real_domains_are_scored_above_chance(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    work = evaluation_data(shared_data / "pacs-96px.parquet", tmp_path)
    result = domains(
        evaluated_encoder(), work, settings(pretrain="run", fractions=(0.05,), draws=1)
    )
    assert [row[1] for row in result["table"]["rows"]] == [2048, 2344, 1670, 3929, 9991]
    assert result["accuracy"] > 1.3 / 7
