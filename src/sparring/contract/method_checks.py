"""Contract of a method: checks that every method must pass, whoever wrote it."""

import tempfile
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparring.config import Settings, merged, toml_text
from sparring.contract import learning
from sparring.contract.check import Check
from sparring.contract.device_reads import steps_read_nothing
from sparring.contract.held_checks import held_checks
from sparring.contract.processes import by_two_processes, outcome, require_equal
from sparring.contract.settings import fields_read, models, require_explained
from sparring.contract.standstill import stands_still
from sparring.contract.toy import (
    FILLED,
    Subject,
    changed,
    extra_state,
    state,
    without_statistics,
)
from sparring.contract.watched import watched_players
from sparring.data.views.view_settings import ViewsSettings
from sparring.methods import registry
from sparring.models.teacher import Teacher
from sparring.optim.player import PlayerSettings
from sparring.strength.settings import has_dial
from sparring.training.encoders import load_encoders
from sparring.training.metrics import metrics_of, read_metrics
from sparring.training.settings import RunConfig


def method_checks(subject: Subject) -> list[Check]:
    """Independent checks of the contract for one method.

    Args:
        subject: method, without opponents around it.
    """
    promises: list[tuple[str, Callable[[Subject], None]]] = [
        ("it introduces itself", introduces_itself),
        ("every player has a section and every section a player", has_sections),
        ("its configuration survives its file", survives_its_file),
        ("every setting is explained", explains_settings),
        ("a run reads every setting", reads_settings),
        ("computing a loss moves nothing", loss_moves_nothing),
        ("only the named player moves", named_player_moves),
        ("a step reads nothing from the device", steps_read_nothing),
        ("after a divergence nothing changes", stands_still),
        ("the same seed gives the same bits, another seed does not", same_seed_same_bits),
        ("a resumed run repeats every bit", resumes_to_the_bit),
        ("the order of images does not change the loss", order_is_indifferent),
        ("teachers follow the encoder by one coefficient", teachers_follow),
        ("every metric is documented", metrics_are_documented),
        ("the encoder is rebuilt without the method", encoder_needs_no_class),
        ("two processes play as one", two_processes_play_as_one),
    ]
    slow = (
        resumes_to_the_bit,
        metrics_are_documented,
        encoder_needs_no_class,
        two_processes_play_as_one,
    )
    checks = [Check(name, partial(run, subject), run in slow) for name, run in promises]
    for twin in registry.about("method", subject.method).twins:
        disarmed = Subject(subject.method, settings=merged(subject.settings, twin.tree()))
        checks += [
            Check(
                f"twin {twin.name} plays another game from the same start",
                partial(twin_plays_another_game, subject, disarmed),
                is_slow=True,
            ),
            Check(
                f"twin {twin.name} reads nothing from the device in a step",
                partial(steps_read_nothing, disarmed),
                is_slow=True,
            ),
            Check(
                f"twin {twin.name} repeats every bit when resumed",
                partial(resumes_to_the_bit, disarmed),
                is_slow=True,
            ),
        ]
    unheld = {introduces_itself, has_sections, survives_its_file, explains_settings, reads_settings}
    unheld |= {order_is_indifferent, teachers_follow, encoder_needs_no_class}
    held = [promise for promise in promises if promise[1] not in unheld]
    checks += held_checks(subject, held, slow)
    checks.append(Check("the encoder learns what views share", partial(learns, subject), True))
    return checks


def introduces_itself(subject: Subject) -> None:
    """Check that name, summary, opponent and settings are declared."""
    about, own = registry.about("method", subject.method), subject.method_class
    assert about.name, "about.name is empty"
    assert about.summary, "about.summary is empty: one line for `sparring methods`"
    assert issubclass(own.settings_class, Settings), "settings_class must be a settings model"
    hidden = set(own.settings_class.model_fields) & set(RunConfig.model_fields)
    assert not hidden, f"settings {', '.join(hidden)} hide general sections of that name"
    is_told = own.toy.held is not None or not has_dial(own.settings_class)
    assert is_told, "toy.held is empty: settings under which `strength` is held"
    primary = [twin for twin in about.twins if twin.primary]
    assert len(primary) == bool(about.twins), "one twin, and one only, is the primary one"


def has_sections(subject: Subject) -> None:
    """Check that there is one `PlayerSettings` for each player, by its name, and no other."""
    players = subject.method_class.settings_class.model_validate({}).players
    sections = {name: getattr(players, name) for name in type(players).model_fields}
    assert all(isinstance(section, PlayerSettings) for section in sections.values())
    found = set(subject.game().players)
    assert set(sections) == found, f"sections {sorted(sections)}, players {sorted(found)}"


def survives_its_file(subject: Subject) -> None:
    """Check that a configuration is the same after it is written as TOML and read again."""
    changes: dict[str, Any] = {
        "seed": 7,
        "data": {"path": 'a "quoted"\\path\n of \u00fcmlauts', "limit": 5},
        "training": {"max_steps": 3, "monitor_epochs": 2},
        "players": {"encoder": {"clip_norm": 1e-7, "learning_rate": 1e22, "optimizer": "lars"}},
    }
    for settings in ({}, changes):
        config = subject.config(**settings)
        again = RunConfig.from_tree(tomllib.loads(toml_text(config.tree())))
        assert again == config, "the configuration that was read differs from the one written"


def explains_settings(subject: Subject) -> None:
    """Check that every field has a docstring, or is a section that explains itself."""
    for model in models(subject.method_class.settings_class):
        if model is not ViewsSettings:  # a view's own settings explain its fields
            require_explained(model)


def reads_settings(subject: Subject) -> None:
    """Check that runs of five steps read every field of the settings: one as it is, and one whose
    opponent is held at a strength, if it has a dial."""
    games: list[Any] = [{}]
    if (held := subject.method_class.toy.held) is not None:
        games.append({**held, "strength": {"nats": held["strength"], "schedule": "constant"}})
    with fields_read() as seen:
        for game in games:
            with tempfile.TemporaryDirectory() as folder:
                subject.training(Path(folder), training={"max_steps": 5}, **game).run()
    own = [m for m in models(subject.method_class.settings_class) if m.__module__ != _BASE]
    wanted = {f"{model.__name__}.{name}" for model in own for name in model.model_fields}
    indirect = {name for name in wanted if name.startswith("ViewsSettings.")}
    unread = wanted - indirect - seen
    assert not unread, f"nobody reads {', '.join(sorted(unread))}"


_BASE = "sparring.methods.method"
"""Module of the base of all settings, whose fields are read through the methods' own settings."""


def loss_moves_nothing(subject: Subject) -> None:
    """Check that computing a loss changes no parameters, banks, queues or counters. Batch-norm
    statistics may change."""
    game = _begun(subject)
    before, extra = state(game.method), extra_state(game.method)
    found = game.method.loss(subject.views(), subject.context(FILLED + 1))
    assert found.loss.ndim == 0, f"the loss must be a scalar, got shape {tuple(found.loss.shape)}"
    assert found.loss.isfinite(), f"the loss is {found.loss.item()}"
    assert found.loss.requires_grad, "no gradient flows from the loss"
    moved = without_statistics(changed(before, state(game.method)))
    assert not moved, f"{', '.join(sorted(moved)[:5])} moved"
    assert extra == extra_state(game.method), "the extra state changed"


def named_player_moves(subject: Subject) -> None:
    """Check that an update changes the parameters of its player and nothing else, and that every
    player is updated."""
    game = _begun(subject)
    players, moved = watched_players(game.players, game.method)
    context = subject.context(FILLED)
    for player in players.values():
        player.prepare(context.position)
    game.method.step(subject.views(FILLED), players, context)
    for name, module in game.method.modules_by_player().items():
        own = {id(parameter) for parameter in module.parameters()}
        owned = {key for key, value in game.method.named_parameters() if id(value) in own}
        assert moved.get(name), f"player {name} made no update in step {FILLED}"
        for names in moved[name]:
            assert names, f"an update of player {name} moved nothing"
            assert names <= owned, f"{name} moved {', '.join(sorted(names - owned)[:5])}"
    left = [key for key, value in game.method.named_parameters() if value.grad is not None]
    assert not left, f"gradients are left in {', '.join(left[:5])}"


def same_seed_same_bits(subject: Subject) -> None:
    """Check that two games with one seed end equal, and that games with two seeds do not."""

    def end(seed: int) -> dict[str, Tensor]:
        """State of the method after some steps."""
        return state(_begun(subject, steps=FILLED + 1, seed=seed).method)

    first = end(0)
    assert not changed(first, end(0)), "the same seed gave other bits"
    assert changed(first, end(1)), "another seed gave the same bits"


def resumes_to_the_bit(subject: Subject) -> None:
    """Check that a resumed run ends equal to an uninterrupted one, including counters and
    losses."""
    for stop in (1, 5):  # inside the filling of a bank, and when the game has begun
        with tempfile.TemporaryDirectory() as place:
            whole = subject.training(Path(place) / "whole", training={"max_steps": 9})
            whole.run()
            subject.training(Path(place) / "parts", training={"max_steps": stop}).run()
            second = subject.training(Path(place) / "parts", training={"max_steps": 9})
            second.restore()
            second.run()
            records = [
                [record["loss"] for record in read_metrics(Path(place) / name / "metrics.jsonl")]
                for name in ("whole", "parts")
            ]
        moved = changed(state(whole.game.method), state(second.game.method))
        assert not moved, f"stopped at step {stop}, {', '.join(sorted(moved)[:5])} differ"
        extra = [extra_state(run.game.method) for run in (whole, second)]
        assert extra[0] == extra[1], f"stopped at step {stop}, the extra state differs"
        for name, player in whole.game.players.items():
            ours, theirs = (p.state_dict()["state"] for p in (player, second.game.players[name]))
            assert _equal(ours, theirs), f"stopped at step {stop}, optimiser of {name} differs"
        assert len(records[0]) == 9
        assert records[0] == records[1], f"stopped at step {stop}, losses differ"


def order_is_indifferent(subject: Subject) -> None:
    """Check that the loss of a batch does not depend on the order of its images."""
    game = _begun(subject)
    views, context = subject.views(), subject.context(FILLED)
    order = torch.randperm(len(views[0]), generator=torch.Generator().manual_seed(0))
    straight = game.method.loss(views, context).loss
    shuffled_views = [type(view)(pixels=view.pixels[order]) for view in views]
    shuffled = game.method.loss(shuffled_views, subject.context(FILLED)).loss
    # Sums in another order: float32 rounding through about 10 layers.
    torch.testing.assert_close(straight, shuffled, rtol=1e-4, atol=1e-5)


def teachers_follow(subject: Subject) -> None:
    """Check that each teacher follows by new = m * old + (1 - m) * encoder, with one m in [0, 1]
    for all its parameters."""
    game = _begun(subject)
    teachers = [part for part in game.method.modules() if isinstance(part, Teacher)]
    shape = [parameter.shape for parameter in game.encoder.parameters()]
    for teacher in teachers:
        if [parameter.shape for parameter in teacher.network.parameters()] != shape:
            continue  # copy of a network other than the encoder
        old = _flat(teacher.network)
        subject.play(game, FILLED)
        new, online = _flat(teacher.network), _flat(game.encoder)
        way = online - old
        share = float((new - old) @ way / (way @ way))
        assert -1e-6 <= share <= 1 + 1e-6, f"the teacher moved {share:.4g} of the way"
        torch.testing.assert_close(new, old + share * way, rtol=1e-4, atol=1e-6)


def metrics_are_documented(subject: Subject) -> None:
    """Check that every metric of a run has a meaning, and that the general metrics are logged."""
    with tempfile.TemporaryDirectory() as folder:
        subject.training(Path(folder)).run()
        names = {n for record in read_metrics(Path(folder) / "metrics.jsonl") for n in record}
    unknown = names - metrics_of(subject.method, subject.opponents).keys()
    assert not unknown, f"metrics without a meaning: {', '.join(sorted(unknown))}"
    assert {"loss", "learning_rate", "alignment", "knn_accuracy"} <= names


def encoder_needs_no_class(subject: Subject) -> None:
    """Check that the encoders rebuilt without the method's class equal the method's, trained and
    untrained."""
    with tempfile.TemporaryDirectory() as folder:
        run = subject.training(Path(folder), training={"max_steps": 2})
        before = {
            name: value
            for name, value in state(run.game.encoder).items()
            if ".adversarial." not in name
        }
        run.run()
        trained, untrained = load_encoders(run.folder)
    for name, value in before.items():
        plain = name.replace(".clean.", ".") if subject.opponents else name
        assert torch.equal(untrained.state_dict()[plain], value), f"untrained {name} differs"
    images = subject.views()[0].pixels
    with torch.no_grad():
        ours = run.game.encoder.eval().features(images)
        assert torch.equal(trained.features(images), ours), "the trained encoder differs"


def two_processes_play_as_one(subject: Subject) -> None:
    """Check that two ranks are equal to the bit, and equal one process on the joint batch up to
    rounding."""
    ranks = by_two_processes([subject])
    require_equal(subject, [rank[0] for rank in ranks], outcome(subject))


def twin_plays_another_game(armed: Subject, disarmed: Subject) -> None:
    """Check that a disarmed twin starts like the full game and ends differently."""
    games = [subject.game() for subject in (armed, disarmed)]
    different = changed(*(state(game.method) for game in games))
    assert not different, f"the twin starts with other {', '.join(sorted(different)[:5])}"
    losses = [
        [subject.play(game, number)["loss"] for number in range(2 * FILLED)]
        for subject, game in zip((armed, disarmed), games, strict=True)
    ]
    assert losses[0] != losses[1], "the twin has the losses of the game"
    assert changed(*(state(game.method) for game in games)), "the twin ends where the game ends"


def learns(subject: Subject) -> None:
    """Check that training raises the score on a task that needs what views share."""
    with tempfile.TemporaryDirectory() as folder:
        run = learning.training(subject, Path(folder))
        before = learning.score(learning.untrained(run))
        run.run()
        after = learning.score(run.game.encoder)
        loss = [record["loss"] for record in read_metrics(Path(folder) / "metrics.jsonl")]
    assert before < learning.UNTRAINED, f"the untrained encoder scores {before:.3f} already"
    assert after > before + learning.GAIN, f"kNN accuracy {before:.3f} before, {after:.3f} after"
    # A bank fills before the third record.
    assert sum(loss[-5:]) < sum(loss[2:7]), "the loss did not fall"


def _begun(subject: Subject, *, steps: int = FILLED, **settings: Any) -> Any:
    """Game that has reached the point where the opponents take part."""
    game = subject.game(**settings)
    for number in range(steps):
        subject.play(game, number)
    return game


def _flat(module: torch.nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten().double() for parameter in module.parameters()])


def _equal(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, Tensor):
        return torch.equal(ours, theirs)
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(_equal(ours[k], theirs[k]) for k in ours)
    return bool(ours == theirs)
