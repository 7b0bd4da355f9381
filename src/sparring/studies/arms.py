"""Arms of a study from names of methods: games, their disarmed twins, their controls.

Roles, twins and controls come from what methods and opponents declare of themselves, and settings
of opponents from the small recipes of their published games.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sparring.config import Tree, merged
from sparring.errors import ConfigError, unknown_name
from sparring.methods import registry
from sparring.methods.about import About, Twin
from sparring.methods.plugins import is_reference
from sparring.studies.plan import Arm
from sparring.training.configure import find_recipe, recipes
from sparring.training.settings import TrainingSettings
from sparring.training.starting import QUEUE

ALL = "all"
"""Value of `twins` that adds every twin."""


@dataclass(frozen=True)
class Named:
    """What the name of an arm says: `simclr+perturbation/random-signs`.

    Attributes:
        method: method, variant or published pairing.
        opponents: opponents around it, the innermost first.
        twin: name of a disarmed twin; empty for the game itself.
    """

    method: str
    opponents: tuple[str, ...]
    twin: str

    @property
    def game(self) -> str:
        """Name of the game, without its twin; a class by its own name."""
        return "+".join(_short(part) for part in (self.method, *self.opponents))

    @property
    def name(self) -> str:
        """Name of the arm."""
        return f"{self.game}/{self.twin}" if self.twin else self.game


def arms_of(
    methods: str | Sequence[str],
    *,
    twins: bool | str | Sequence[str] = False,
    controls: bool = False,
    recipe: str | None = None,
    epochs: int | None = None,
) -> tuple[Arm, ...]:
    """Arms of a study, each game before its twins, in the order of the methods.

    Args:
        methods: names, also separated by commas: methods, variants, published pairings,
            METHOD+OPPONENT, FILE.py:CLASS, and METHOD/TWIN for a disarmed twin.
        twins: whether to add each game's primary twin; `all` adds every twin, and names add the
            twins of these names.
        controls: whether to add each game's control.
        recipe: recipe of all arms; None: `METHOD-small` where there is one.
        epochs: epochs of the study, to which parts of a run are scaled that a recipe gives in
            epochs; None: those of the recipe.

    Raises:
        ConfigError: for an unknown method, opponent or twin, with the nearest name.
    """
    given = [methods] if isinstance(methods, str) else methods
    names = [name.strip() for text in given for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError("no methods given; name at least one, such as --methods simclr")
    asked = list(dict.fromkeys(_parsed(name) for name in names))
    found = dict.fromkeys(
        one for each in asked for one in (each, *_added_twins(each, _wanted(twins, asked)))
    )
    if controls:
        found |= dict.fromkeys(filter(None, (_control(one) for one in list(found) if not one.twin)))
    return tuple(_arm(one, list(found), recipe=recipe, epochs=epochs) for one in found)


def small_recipe(method: str) -> str | None:
    """Name of a method's small recipe; None if it has none."""
    name = f"{method}-small"
    return name if name in recipes() else None


def twins_of(method: str, opponents: Sequence[str] = ()) -> tuple[tuple[Twin, Tree], ...]:
    """Disarmed twins of a game, each with its settings within a whole configuration.

    Those of the outermost opponent where there is one, else the method's own. A variant has the
    twins of its method, but for those that are the variant itself.

    Args:
        method: method, variant or published pairing.
        opponents: opponents around it, the innermost first.
    """
    around = _around(method, opponents)
    if around:
        about = registry.about("opponent", around[-1])
        section = registry.section_of(around[-1])
        return tuple((twin, {section: twin.tree()}) for twin in about.twins)
    fixed = registry.variants()[method][1].settings if method in registry.variants() else {}
    return tuple(
        (twin, twin.tree())
        for twin in _about(method).twins
        if not fixed or merged(fixed, twin.tree()) != dict(fixed)
    )


def is_game(method: str, opponents: Sequence[str] = ()) -> bool:
    """Whether a method has an opponent, or something else that a twin of it lacks."""
    return bool(twins_of(method, opponents)) or not _about(method).opponent.startswith("none")


def _short(part: str) -> str:
    return part.rpartition(":")[2] if is_reference(part) else part


def _parsed(text: str) -> Named:
    """Parts of an arm's name; only behind a class's name is a slash that of a twin."""
    *inner, last = (part.strip() for part in text.split("+"))
    where, colon, name = last.rpartition(":")
    name, _, twin = name.partition("/")
    method, *opponents = [*inner, where + colon + name]
    parsed = Named(method, tuple(opponents), twin)
    registry.give("method", method)
    _about(method)
    for opponent in opponents:
        registry.about("opponent", registry.give("opponent", opponent))
    if twin:
        known = [one.name for one, _ in twins_of(method, opponents)]
        if twin not in known:
            raise ConfigError(unknown_name(f"twin of {parsed.game}", twin, known))
    return parsed


def _around(method: str, opponents: Sequence[str]) -> tuple[str, ...]:
    """Opponents around a method, that of a published pairing included."""
    inner = registry.pairings()[method][1:] if method in registry.pairings() else ()
    return (*inner, *(name for name in opponents if name not in inner))


def _about(method: str) -> About:
    """Introduction of a method; a variant's and a pairing's is that of their method."""
    if method in registry.pairings():
        return registry.about("method", registry.pairings()[method][0])
    if method in registry.variants():
        return registry.about("method", registry.variants()[method][0])
    return registry.about("method", method)


def _wanted(twins: bool | str | Sequence[str], asked: Iterable[Named]) -> bool | Sequence[str]:
    """Which twins are added: the primary ones, none, or those of some names."""
    if isinstance(twins, bool):
        return twins
    names = [name.strip() for name in ([twins] if isinstance(twins, str) else twins)]
    known = {twin.name for one in asked for twin, _ in twins_of(one.method, one.opponents)}
    for name in names:
        if name != ALL and name not in known:
            raise ConfigError(unknown_name("twin", name, [*known, ALL]))
    return names


def _added_twins(game: Named, wanted: bool | Sequence[str]) -> list[Named]:
    if game.twin or not wanted:
        return []
    found = [twin for twin, _ in twins_of(game.method, game.opponents)]
    if wanted is True:
        found = [twin for twin in found if twin.primary][:1] or found[:1]
    elif ALL not in wanted:
        found = [twin for twin in found if twin.name in wanted]
    return [Named(game.method, game.opponents, twin.name) for twin in found]


def _control(game: Named) -> Named | None:
    """The control that a game declares: without its outermost opponent, or another method."""
    if game.opponents:
        return Named(game.method, game.opponents[:-1], "")
    if game.method in registry.pairings():
        return Named(registry.pairings()[game.method][0], (), "")
    control = _about(game.method).control
    return None if control is None else Named(control, (), "")


def _arm(named: Named, arms: Sequence[Named], *, recipe: str | None, epochs: int | None) -> Arm:
    control, of_game = _control(named), Named(named.method, named.opponents, "")
    is_played = is_game(named.method, named.opponents)
    fields: Tree = {"role": "game" if is_played else "control"}
    if named.twin:
        fields = {"role": "twin", "twin_of": of_game.name if of_game in arms else ""}
    elif is_played and control in arms:
        fields["control"] = control.name if control is not None else ""
    settings = merged(_scaled(named.method, recipe, epochs), *_small_sections(named.opponents))
    for twin, tree in twins_of(named.method, named.opponents):
        settings = merged(settings, tree) if twin.name == named.twin else settings
    return Arm.build(
        {
            "name": named.name,
            "method": named.method,
            "opponent": named.opponents,
            "settings": settings,
            **fields,
        }
    )


def _scaled(method: str, recipe: str | None, epochs: int | None) -> Tree:
    """Epochs in which a bank is filled, as the same share of the study's epochs as of the
    recipe's."""
    name = recipe or small_recipe(method)
    if name is None or epochs is None:
        return {}
    tree = find_recipe(name)
    whole = tree.get("training", {}).get("epochs", TrainingSettings().epochs)
    known = {} if recipe is None else _fields(method)
    if QUEUE not in tree or (recipe is not None and QUEUE not in known):
        return {}
    return {QUEUE: tree[QUEUE] * epochs / whole}


def _fields(method: str) -> Mapping[str, object]:
    name = registry.variants()[method][0] if method in registry.variants() else method
    name = registry.pairings()[name][0] if name in registry.pairings() else name
    return registry.method_class(name).settings_class.model_fields


def _small_sections(opponents: Sequence[str]) -> list[Tree]:
    """Settings of opponents from the small recipes of their published games."""
    found = []
    for name in opponents:
        pairing = registry.about("opponent", name).pairing
        if pairing is not None and (recipe := small_recipe(pairing.name)) is not None:
            section = registry.section_of(name)
            found.append({section: find_recipe(recipe).get(section, {})})
    return found
