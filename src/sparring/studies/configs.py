"""Configuration of each arm of a study, and the arguments of `sparring.train` that give it."""

from pathlib import Path

from sparring.config import Tree, merged
from sparring.errors import ConfigError
from sparring.methods.plugins import is_reference
from sparring.studies.arms import small_recipe
from sparring.studies.plan import Arm, Study
from sparring.training.configure import configure, stored_path
from sparring.training.settings import RunConfig


def train_arguments(
    study: Study,
    arm: Arm,
    *,
    seed: int,
    limit: int | None = None,
    num_steps: int | None = None,
) -> Tree:
    """Arguments of `sparring.train` for one run, besides `data` and `out`.

    Args:
        study: plan of the study.
        arm: one of its arms.
        seed: of the run.
        limit: number of images; None: as the arm says.
        num_steps: length in steps; None: as the plan's epochs or the recipe say.
    """
    settings = merged(study.settings, arm.settings)
    if limit is not None:
        settings = merged(settings, {"data": {"limit": limit}})
    if num_steps is not None:
        settings = merged(settings, {"training": {"num_steps": num_steps}})
    given = {
        "method": whole_reference(arm.method),
        "opponent": [whole_reference(name) for name in arm.opponent],
        "recipe": recipe_of(study, arm),
        "settings": settings,
        "epochs": study.epochs,
        "device": study.device,
        "seed": seed,
    }
    return {name: value for name, value in given.items() if value not in (None, [], {})}


def arm_config(
    study: Study,
    arm: Arm,
    *,
    seed: int | None = None,
    limit: int | None = None,
    num_steps: int | None = None,
) -> RunConfig:
    """Configuration of one run, before its images are opened; see `train_arguments`.

    Raises:
        ConfigError: for an unknown name or a value that is not accepted.
    """
    seed = study.seeds[0] if seed is None else seed
    given = train_arguments(study, arm, seed=seed, limit=limit, num_steps=num_steps)
    try:
        return configure(study.data, **given)
    except ConfigError as error:
        raise ConfigError(f"arm '{arm.name}': {error}{_of_one_arm(study, arm)}") from None


def _of_one_arm(study: Study, arm: Arm) -> str:
    """What to do about settings of the study that this arm lacks and another one has."""
    others = [other for other in study.arms if other.method != arm.method]
    if not study.settings or not any(_is_accepted(study, other) for other in others):
        return ""
    return (
        "; settings of the study hold for all arms, so write those of one into its [arms.settings] "
        "of a PLAN.toml, which --plan-only prints"
    )


def _is_accepted(study: Study, arm: Arm) -> bool:
    try:
        configure(study.data, **train_arguments(study, arm, seed=0))
    except ConfigError:
        return False
    return True


def arm_configs(study: Study) -> dict[str, RunConfig]:
    """Configuration of every arm at the study's first seed, by the arm's name.

    Raises:
        ConfigError: for an unknown name or a value that is not accepted.
    """
    return {arm.name: arm_config(study, arm) for arm in study.arms}


def placed(study: Study) -> Study:
    """The study with whole paths, which hold in any folder; a path to nothing stays as it is."""
    tests = [
        one.model_copy(update={"data": _whole(one.data), "train_data": _whole(one.train_data)})
        for one in study.tests
    ]
    arms = [
        arm.model_copy(
            update={
                "method": whole_reference(arm.method),
                "opponent": tuple(whole_reference(name) for name in arm.opponent),
                "recipe": _whole(arm.recipe) if arm.recipe else arm.recipe,
                "tuning": arm.tuning.model_copy(update={"images": _whole(arm.tuning.images)}),
            }
        )
        for arm in study.arms
    ]
    recipe = _whole(study.recipe) if study.recipe else study.recipe
    found = {"data": _whole(study.data), "tests": tuple(tests), "arms": tuple(arms)}
    return study.model_copy(update={**found, "recipe": recipe})


def _whole(place: str) -> str:
    """Whole path of what is there; an address, a public set or a recipe's name as it is."""
    return stored_path(place) if place and Path(place).expanduser().exists() else place


def recipe_of(study: Study, arm: Arm) -> str | None:
    """Recipe of an arm: its own, the study's, or the small one of its method."""
    return arm.recipe or study.recipe or small_recipe(arm.method)


def whole_reference(name: str) -> str:
    """A method's or opponent's name, in which a file has its whole path."""
    file, _, owner = name.rpartition(":")
    if not is_reference(name) or not file.endswith(".py"):
        return name
    return f"{Path(file).expanduser().absolute()}:{owner}"
