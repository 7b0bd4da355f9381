"""The runs of a study in the order in which they are made: pair by pair, so that early looks are
complete early."""

from collections.abc import Mapping
from pathlib import Path

from sparring.errors import ConfigError
from sparring.studies import history
from sparring.studies.configs import arm_config, placed, train_arguments
from sparring.studies.contents import Contents, share_limit
from sparring.studies.equal_time import reference_arm, steps_of_arms
from sparring.studies.folder import StudyFolder
from sparring.studies.keys import run_key
from sparring.studies.orders import RunOrder
from sparring.studies.plan import Arm, Budget, Study
from sparring.studies.records import RunName
from sparring.training.small_sets import with_fitting_batch


def orders(
    study: Study,
    folder: StudyFolder | str | Path,
    *,
    pairs: int | None = None,
    step_seconds: Mapping[str, float] | None = None,
    versions: Mapping[str, str] | None = None,
) -> list[RunOrder]:
    """One order per run: all runs of the first seed, then those of the second, and so on.

    Args:
        study: plan of the study.
        folder: folder of the study; it need not exist.
        pairs: number of seeds to take, the first ones; None: all.
        step_seconds: measured seconds of a step of each arm, for equal time; None: those that
            `history.written` has stored in the folder.
        versions: with which keys are made; None: the installed ones.

    Raises:
        ConfigError: for settings that are not accepted, or equal time without measured seconds.
        DataError: if images or test sets cannot be opened.
    """
    place = folder if isinstance(folder, StudyFolder) else StudyFolder(folder)
    make = _Orders(study, place, step_seconds, versions)
    return [
        make.order(arm, RunName(arm=arm.name, seed=seed, share=share, budget=budget))
        for seed in study.seeds[:pairs]
        for share in sorted(study.shares, reverse=True)
        for budget in study.budgets
        for arm in study.arms
    ]


class _Orders:
    """Orders of a study, with what all of them share.

    Args:
        study: plan of the study.
        folder: of the study.
        step_seconds: see `orders`.
        versions: see `orders`.
    """

    def __init__(
        self,
        study: Study,
        folder: StudyFolder,
        step_seconds: Mapping[str, float] | None,
        versions: Mapping[str, str] | None,
    ) -> None:
        self._study, self._folder = placed(study), folder
        self._contents = Contents(self._study)
        self._seconds, self._versions = step_seconds, versions
        self._lengths: dict[float, dict[str, int | None]] = {}

    def order(self, arm: Arm, name: RunName) -> RunOrder:
        """What one run has to do."""
        study = self._study
        limit = self._limit(arm, name.share)
        num_steps = self._num_steps(arm, name.share, name.budget)
        config = arm_config(study, arm, seed=name.seed, limit=limit, num_steps=num_steps)
        return RunOrder(
            name=name,
            key=run_key(study, config, self._contents, versions=self._versions),
            study=str(self._folder.path.absolute()),
            data=study.data,
            train=train_arguments(study, arm, seed=name.seed, limit=limit, num_steps=num_steps),
            protocols=study.protocols,
            protocol_settings=study.protocol_settings,
            tests=study.tests,
            threads=study.threads,
        )

    def _limit(self, arm: Arm, share: float) -> int | None:
        if share == 1.0:
            return None
        settings = arm_config(self._study, arm).data
        if settings.streaming:
            raise ConfigError(
                f"shares: {share:g} of images that are read in order would be the same first ones "
                "for every seed; give a set with random access, or shares = [1.0]"
            )
        return share_limit(self._contents.training(settings), share, settings.limit)

    def _num_steps(self, arm: Arm, share: float, budget: Budget) -> int | None:
        if budget == "images":
            return None
        if share not in self._lengths:
            self._lengths[share] = self._equal_time(share)
        return self._lengths[share][arm.name]

    def _equal_time(self, share: float) -> dict[str, int | None]:
        """Steps of each arm at a share; None where they are those of its epochs, as the
        reference's."""
        study = self._study
        if self._seconds is None:
            self._seconds = history.step_seconds(self._folder, study)
        own = {arm.name: self._own_steps(arm, share) for arm in study.arms}
        whole = own[reference_arm(study)]
        steps = steps_of_arms(study, self._seconds, reference_steps=whole)
        return {name: None if count == own[name] else count for name, count in steps.items()}

    def _own_steps(self, arm: Arm, share: float) -> int:
        """Steps of an arm by its epochs."""
        limit = self._limit(arm, share)
        config = arm_config(self._study, arm, limit=limit)
        count = self._contents.training(config.data).count
        if count is None:
            raise ConfigError(
                f"equal = '{self._study.equal}' needs the number of images, which this stream does "
                "not say; set data.num_images"
            )
        images = min(count, config.data.limit or count)
        if "batch_size" not in self._study.settings.get("training", {}) | arm.settings.get(
            "training", {}
        ):
            config = with_fitting_batch(config, images)
        return config.training.total_steps(max(1, images // config.training.batch_size))
