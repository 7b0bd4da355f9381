"""The verdict: same labels for all, equal budgets, a sentence that claims what the draws show; and
encoders from elsewhere."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from tiny_encoders import coloured, encoder, evaluated_encoder, state_digest
from torch import nn

import games
from sparring.errors import ConfigError, DataError
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.finetuning import finetuning
from sparring.evaluation.finetuning.finetuning import FineTuningSettings
from sparring.evaluation.pretraining_again.external_encoders import external_encoder
from sparring.evaluation.pretraining_again.verdict import (
    Approach,
    VerdictSettings,
    _starts,
    judgement,
    verdict,
)
from sparring.models.encoder import Encoder
from sparring.training.build import build_encoder
from sparring.training.encoders import drawn_anew
from told import Told

SHORT = FineTuningSettings(
    steps=3, batch_size=8, backbone_learning_rate=0.05, head_learning_rate=0.2
)
CPU = torch.device("cpu")


def both() -> EvaluatedEncoder:
    untrained = evaluated_encoder(name="untrained", seed=1)
    return EvaluatedEncoder("trained", evaluated_encoder().encoder, untrained)


def rows(
    ours: list[float], without: list[float], elsewhere: list[float] | None = None
) -> list[Approach]:
    found = [
        Approach("untrained", "linear probe", [0.1] * len(without), 0, is_without=True),
        Approach("untrained", "supervised from scratch", without, 10, is_without=True),
        Approach("this run", "linear probe", [0.2] * len(ours), 5, is_ours=True),
        Approach("this run", "fine-tuned", ours, 15, is_ours=True),
    ]
    return found + ([Approach("resnet50", "fine-tuned", elsewhere, 0)] if elsewhere else [])


@pytest.mark.parametrize(
    ("ours", "without", "starts"),
    [
        ([0.6, 0.62], [0.5, 0.59], "Pretraining pays here"),
        ([0.6, 0.62], [0.5, 0.61], "No clear difference"),
        ([0.5, 0.52], [0.6, 0.53], "Pretraining does not pay here"),
        ([0.5, 0.55], [0.5, 0.55], "No clear difference"),
    ],
)
def test_a_difference_counts_if_every_draw_shows_it(
    ours: list[float], without: list[float], starts: str
) -> None:
    sentence = judgement(rows(ours, without), labels=1200)
    assert sentence.startswith(starts)
    assert "1,200 labels" in sentence
    assert "2 draws" in sentence
    assert "supervised from scratch" in sentence


def test_the_sentence_names_a_better_encoder_from_elsewhere_and_distrusts_a_single_draw() -> None:
    assert "resnet50 is better than both" in judgement(
        rows([0.6, 0.62], [0.5, 0.5], [0.7, 0.8]), labels=9
    )
    assert "resnet50" not in judgement(rows([0.6, 0.62], [0.5, 0.5], [0.61, 0.8]), labels=9)
    assert "no evidence" in judgement(rows([0.6], [0.5]), labels=9)


@pytest.mark.parametrize(
    ("start", "begins"),
    [
        ([0.5, 0.59], "Continuing pays here: with 9 labels this run reaches 61.0 % (fine-tuned)"),
        ([0.5, 0.61], "Continuing makes no clear difference: with"),
        ([0.7, 0.63], "Continuing does not pay here: with"),
    ],
)
def test_continuing_and_pretraining_are_judged_separately(start: list[float], begins: str) -> None:
    alone = Approach("start weights", "fine-tuned", start, 0, is_start=True)
    frozen = Approach("start weights", "frozen, linear probe", [0.1, 0.1], 0, is_start=True)
    sentence = judgement([*rows([0.6, 0.62], [0.5, 0.59]), frozen, alone], labels=9)
    assert sentence.startswith(begins)
    assert f"the start weights alone {50 * sum(start):.1f} % (fine-tuned), 2 draws." in sentence
    assert " Pretraining pays here: with 9 labels" in sentence
    assert "better than both" not in sentence


def test_without_rows_from_scratch_continuing_alone_is_judged() -> None:
    ours = [row for row in rows([0.6, 0.62], [0.5]) if row.is_ours]
    alone = Approach("start weights", "fine-tuned", [0.5, 0.5], 0, is_start=True)
    sentence = judgement([*ours, alone], labels=9)
    assert sentence.startswith("Continuing pays here")
    assert "retraining" not in sentence


def test_a_run_from_weights_stands_beside_them_and_an_encoder_drawn_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = games.config(
        "simclr", encoder={"width": 0.0625, "weights": "file.pth", "frozen_stages": 2}, seed=3
    )
    start = EvaluatedEncoder("start weights", encoder(seed=1))
    who, asked = EvaluatedEncoder("trained", encoder(), start), []
    original = finetuning.fine_tuned

    def watched(network: Encoder, *more: object, **named: object) -> object:
        asked.append((network.backbone.frozen, state_digest(network.backbone), named["settings"]))
        return original(network, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(finetuning, "fine_tuned", watched)
    scratch = SHORT.model_copy(update={"steps": 2})
    result = verdict(
        who,
        EvaluationData(coloured(12), coloured(6, seed=1), image_size=16, config=config),
        VerdictSettings(draws=1, tuning=SHORT, scratch=scratch),
    )
    assert [row[:2] for row in result["table"]["rows"]] == [
        ["untrained", "linear probe"],
        ["untrained", "supervised from scratch"],
        ["start weights", "frozen, linear probe"],
        ["start weights", "fine-tuned"],
        ["start weights, continued", "linear probe"],
        ["start weights, continued", "fine-tuned"],
    ]
    drawn = build_encoder(games.config("simclr", encoder={"width": 0.0625}, seed=3)).backbone
    assert asked == [
        (frozenset(), state_digest(drawn), scratch),
        (frozenset(), state_digest(encoder(seed=1).backbone), SHORT),
        (frozenset(), state_digest(encoder().backbone), SHORT),
    ]
    best = max(row[2] for row in result["table"]["rows"][2:4])
    assert result["start_weights"] == best
    assert result["note"].startswith("Continuing")


def test_a_network_of_ones_own_that_cannot_be_drawn_anew_has_no_rows_from_scratch() -> None:
    config = games.config("simclr", encoder={"backbone": "custom:Own", "weights": "file.pth"})
    own = build_encoder(config, nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    assert not torch.equal(
        drawn_anew(own, config, device=CPU).backbone.network[0].weight,  # type: ignore[index]
        own.backbone.network[0].weight,  # type: ignore[index]
    )
    own.backbone.network.append(nn.Module())  # type: ignore[operator]
    own.backbone.network[2].scale = nn.Parameter(torch.ones(1))  # type: ignore[index]
    with pytest.raises(ConfigError, match=r"its Module \(2\) has no reset_parameters\(\)"):
        drawn_anew(own, config, device=CPU)
    told = Told()
    data = EvaluationData(coloured(9), image_size=16, config=config, listener=told)
    start = EvaluatedEncoder("start weights", own)
    assert _starts(EvaluatedEncoder("trained", own, start), data) == (start, None)
    assert any("verdict: no rows from scratch, since this network" in line for line in told.lines)


@pytest.mark.slow
def test_every_way_gets_the_same_labels_and_no_encoder_is_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    who, asked = both(), []
    original = finetuning.fine_tuned

    def watched(
        network: Encoder,
        images: object,
        chosen: torch.Tensor,
        labels: torch.Tensor,
        **named: object,
    ) -> object:
        asked.append((tuple(chosen.tolist()), named["settings"]))
        return original(network, images, chosen, labels, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(finetuning, "fine_tuned", watched)
    assert who.origin is not None
    encoders = [who.encoder, who.origin.encoder]
    before = [state_digest(e) for e in encoders]  # type: ignore[arg-type]
    settings = VerdictSettings(
        share=0.2, draws=2, tuning=SHORT, scratch=SHORT.model_copy(update={"weight_decay": 1e-3})
    )
    evaluation_data = EvaluationData(coloured(20), coloured(10, seed=1), image_size=16)
    result = verdict(who, evaluation_data, settings)
    assert [state_digest(e) for e in encoders] == before  # type: ignore[arg-type]
    scratch, ours = asked[:2], asked[2:]
    assert [rows for rows, _ in scratch] == [rows for rows, _ in ours]
    assert len({rows for rows, _ in asked}) == 2
    assert all(len(rows) == 12 for rows, _ in asked)
    assert [row[0] for row in result["table"]["rows"]] == [
        "untrained",
        "untrained",
        "this run",
        "this run",
    ]
    best = max(row[2] for row in result["table"]["rows"][2:])
    assert result["accuracy"] == best
    assert (
        verdict(
            both(), EvaluationData(coloured(20), coloured(10, seed=1), image_size=16), settings
        )["draws"]
        == result["draws"]
    )


@pytest.mark.slow
def test_the_whole_budget_counts_every_view_that_pretraining_saw(trained: Path) -> None:
    from sparring.api import load
    from sparring.training.run_folder import RunFolder
    from tiny import NUM_STEPS

    config = RunFolder(trained).read_config()
    who = EvaluatedEncoder("trained", load(trained), evaluated_encoder(name="untrained"))
    images, labels = coloured(20)
    evaluation_data = EvaluationData(
        (images, labels), None, image_size=16, config=config, folder=trained
    )
    result = verdict(who, evaluation_data, VerdictSettings(draws=1, tuning=SHORT, scratch=SHORT))
    budget = {row[1]: row[4] for row in result["table"]["rows"] if row[0] == "untrained"}
    pretraining = NUM_STEPS * 16 * 2
    assert budget["supervised from scratch"] == 3 * 8
    assert budget["supervised from scratch, whole budget"] == 3 * 8 + pretraining
    ours = {row[1]: row[4] for row in result["table"]["rows"] if row[0] == "this run"}
    assert ours == {"linear probe": pretraining, "fine-tuned": pretraining + 3 * 8}
    short = VerdictSettings(draws=1, tuning=SHORT, scratch=SHORT, whole_budget=False)
    assert len(verdict(who, evaluation_data, short)["table"]["rows"]) == 4


@pytest.mark.slow
def test_an_encoder_from_elsewhere_is_a_run_or_a_file_of_weights(
    trained: Path, tmp_path: Path
) -> None:
    from sparring.api import load

    assert state_digest(external_encoder(str(trained), image_size=16, device=CPU)) == state_digest(
        load(trained)
    )
    network = timm.create_model("resnet10t", num_classes=0)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    images = torch.rand(2, 3, 32, 32)
    shown = network.pretrained_cfg
    expected = network.eval()(
        (images - torch.tensor(shown["mean"]).view(3, 1, 1))
        / torch.tensor(shown["std"]).view(3, 1, 1)
    )
    for name in ("weights.safetensors", "weights.pth"):
        found = external_encoder(f"resnet10t:{tmp_path / name}", image_size=32, device=CPU)
        assert torch.allclose(found.features(images), expected, atol=1e-5)
        assert not any(p.requires_grad for p in found.parameters())
    settings = VerdictSettings(
        draws=1, tuning=SHORT, scratch=SHORT, pretrained=(f"resnet10t:{tmp_path / 'weights.pth'}",)
    )
    evaluation_data = EvaluationData(
        coloured(12, size=32), coloured(6, size=32, seed=1), image_size=32
    )
    assert [row[1] for row in verdict(both(), evaluation_data, settings)["table"]["rows"]][2:4] == [
        "linear probe",
        "fine-tuned",
    ]


def test_bad_encoders_from_elsewhere_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'resnet50'.*or give a run folder"):
        external_encoder("resnet5O", image_size=32, device=CPU)
    with pytest.raises(DataError, match=r"cannot read the weights .*nowhere\.pth"):
        external_encoder(f"resnet10t:{tmp_path / 'nowhere.pth'}", image_size=32, device=CPU)
    state = timm.create_model("resnet10t", num_classes=0).state_dict()
    torch.save(
        {key: value for key, value in state.items() if key != "conv1.0.weight"},
        tmp_path / "few.pth",
    )
    with pytest.raises(
        DataError, match=r"few\.pth does not fit resnet10t: 1 of 70 tensors are missing, conv1\.0\."
    ):
        external_encoder(f"resnet10t:{tmp_path / 'few.pth'}", image_size=32, device=CPU)
    torch.save(
        {**state, "layer1.1.weight": torch.zeros(1), "fc.weight": torch.zeros(1)},
        tmp_path / "more.pth",
    )
    with pytest.raises(DataError, match=r"more layers than resnet10t, such as layer1\.1\.weight"):
        external_encoder(f"resnet10t:{tmp_path / 'more.pth'}", image_size=32, device=CPU)


def test_timms_weights_that_cannot_be_had_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        DataError,
        match=r"timm's weights of resnet10t cannot be had \(no route to host\); .*resnet10t:FILE",
    ):
        external_encoder("resnet10t", image_size=32, device=CPU)


def test_tiny_sets_of_a_single_image_per_class_are_refused_in_one_sentence() -> None:
    evaluation_data = EvaluationData(coloured(20), coloured(10, seed=1), image_size=16)
    with pytest.raises(DataError, match="some class needs at least two images"):
        verdict(
            both(),
            evaluation_data,
            VerdictSettings(share=0.01, draws=1, tuning=SHORT, scratch=SHORT),
        )
    assert isinstance(encoder(), Encoder)
