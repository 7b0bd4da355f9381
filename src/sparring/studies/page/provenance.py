"""Section of a study's page on how it was made: commands, plan, arms, runs, environment."""

from collections.abc import Mapping, Sequence
from html import escape

from sparring.config import leaves, toml_text
from sparring.errors import RunError, SparringError
from sparring.regular_files import read_text
from sparring.reporting import sections
from sparring.reporting.pools import HARMLESS
from sparring.reporting.sentences import listed
from sparring.studies import history
from sparring.studies.configs import arm_configs
from sparring.studies.page.arm_numbers import tuned_more
from sparring.studies.page.commands import evaluate_commands, in_lines, train_command
from sparring.studies.page.environments import environment_section
from sparring.studies.page.frame import Column, folded, mark, table
from sparring.studies.page.run_history import history_section, time_text
from sparring.studies.page.view import PageView
from sparring.studies.page.wording import NOTHING
from sparring.studies.pairing import fixed_for_all_seeds, shared_by_arms
from sparring.studies.plan import Contrast, Study
from sparring.studies.records import RunRecord
from sparring.studies.trust import require_given

MOST_COMMANDS = 20
"""Most recorded commands that are shown."""


def section(view: PageView) -> str:
    """Commands, plan, differences of the arms, tuning, runs and environment, as HTML."""
    firsts = {arm.name: _first_run(view, arm.name) for arm in view.study.arms}
    content = "".join(
        [
            history_section(view.results),
            _notes(view.results.records),
            _tuning(view),
            _commands(view, firsts),
            _plan(view),
            _shared(view.study),
            _differences(view, firsts),
            environment_section([one for one in view.results.records if one.environment]),
            _configurations(firsts),
        ]
    )
    lead = "Everything that is needed to repeat this study, or one run of it."
    return sections.section("How this was made", content, lead=lead)


def _first_run(view: PageView, arm: str) -> RunRecord | None:
    """Finished run of an arm with the least seed, at the primary measure's share and budget."""
    found = view.results.of_arm(arm, view.results.primary)
    return found[0] if found else None


def _notes(records: Sequence[RunRecord]) -> str:
    """Sentences that must stand beside the numbers, each once with its runs."""
    said: dict[str, list[str]] = {}
    for one in records:
        if one.note:
            said.setdefault(one.note, []).append(str(one.name))
    return "".join(
        f'<p class="note">{escape(f"{listed(names)}: {note}")}</p>' for note, names in said.items()
    )


def _tuning(view: PageView) -> str:
    """Table of the trials behind each arm's settings, arms that had more than another marked."""
    arms = view.study.arms
    if not any(arm.tuning.trials or arm.tuning.images for arm in arms):
        return (
            "<p>The plan says of no arm that its settings were tuned for this study: each has "
            "those of its recipe, or what was tried is not known.</p>"
        )
    columns = [
        Column(title="Arm", is_number=False),
        Column(title="Trials"),
        Column(title="Scored on", is_number=False),
    ]
    rows, warnings = [], ""
    for number, arm in enumerate(arms):
        others = tuned_more(view.results, arm)
        trials = f"{arm.tuning.trials:,}" if arm.tuning.trials else "none known"
        badge = ' <b class="badge">tuned more</b>' if others else ""
        name = sections.swatch(number, arm.name)
        rows.append([f"{name}{badge}", trials, escape(arm.tuning.images or "not known")])
        if others:
            warnings += mark(
                f"{arm.name} was tuned with more trials than {listed(others)}. What it is ahead "
                "may come from the tuning."
            )
    return f"{warnings}{table('Who was tuned how', columns, rows)}"


def _commands(view: PageView, firsts: Mapping[str, RunRecord | None]) -> str:
    """The study's command, and those that repeat the first run of each arm."""
    study = view.study
    again = in_lines(["sparring", "compare", str(view.folder.plan), "--out", str(view.folder.path)])
    content = f'<h3 class="below">Commands</h3>{_command("The whole study", again)}'
    for number, arm in enumerate(study.arms):
        record = firsts[arm.name]
        seed = study.seeds[0] if record is None else record.name.seed
        lines = [train_command(study, arm, record), *evaluate_commands(study, arm, seed)]
        title = f"{sections.swatch(number, arm.name)} <small>one run, seed {seed}</small>"
        content += _command(title, "\n".join(lines))
    recorded = list(
        dict.fromkeys(
            str(one.environment["command"])
            for one in view.results.records
            if one.environment.get("command")
        )
    )
    shown = "\n".join(recorded[:MOST_COMMANDS])
    if len(recorded) > MOST_COMMANDS:
        shown += f"\n... and {len(recorded) - MOST_COMMANDS:,} more"
    if recorded:
        title = f"Commands as the runs recorded them ({len(recorded)})"
        content += folded(title, f"<pre>{escape(shown)}</pre>")
    return content


def _command(title: str, text: str) -> str:
    return f'<div class="command">{title}<pre>{escape(text)}</pre></div>'


def _plan(view: PageView) -> str:
    """The plan as it was written down, when that was, and what was changed later."""
    try:
        text = read_text(view.folder.plan)
    except (OSError, ValueError):
        text = toml_text(view.study.tree())
    return f"{_history(view)}{folded('The plan', f'<pre>{escape(text)}</pre>')}"


def _history(view: PageView) -> str:
    """When the plan was written, its hash, and its changes; empty if nobody recorded it."""
    if not view.folder.history.is_file():
        return ""
    try:
        written, digest = history.first_written(view.folder)
        changes = history.changes(view.folder)
    except RunError as error:
        return mark(f"Whether the plan was changed is not known: {error}.")
    said = f"The plan was written down on {time_text(written)} (SHA-256 {digest})"
    if not changes:
        return f'<p class="digest">{escape(said)}, and was not changed since.</p>'
    lines = "".join(f"<li>{escape(str(change))}</li>" for change in changes)
    return (
        f'<p class="digest">{escape(said)}.</p>'
        f"{mark(f'It was changed later, in {len(changes)} place{_s(len(changes))}.')}"
        f"<ul>{lines}</ul>"
    )


def _shared(study: Study) -> str:
    """What the runs of one seed have in common, and what is the same for all seeds."""
    try:
        require_given(*study.arms)
        configs = arm_configs(study)
        found = shared_by_arms(study, configs)
    except SparringError as error:
        text = f"What the arms of a seed share cannot be told here: {error}."
        return sections.missing_note(text)
    fixed = fixed_for_all_seeds(configs)
    lines = "".join(f"<li>{escape(str(one))}</li>" for one in found)
    warning = mark(f"The same for all seeds: {listed(fixed)}.") if fixed else ""
    return warning + folded("What the runs of one seed share", f"<ul>{lines}</ul>")


def _s(count: int) -> str:
    return "s" * (count != 1)


def _differences(view: PageView, firsts: Mapping[str, RunRecord | None]) -> str:
    """Settings in which the arms of each planned contrast differ."""
    tables = "".join(
        _difference(contrast, first.config, second.config)
        for contrast in view.study.planned_contrasts()
        if (first := firsts[contrast.first]) is not None
        and (second := firsts[contrast.second]) is not None
    )
    return tables + _within_arms(view)


def _difference(
    contrast: Contrast, first: Mapping[str, object], second: Mapping[str, object]
) -> str:
    one, other = dict(leaves(first)), dict(leaves(second))
    names = [
        name
        for name in dict.fromkeys([*one, *other])
        if name != "seed" and name not in HARMLESS and one.get(name) != other.get(name)
    ]
    title = f"Settings of {contrast.first} and {contrast.second}: "
    if not names:
        return folded(f"{title}equal", "<p>The two configurations are equal.</p>")
    columns = [
        Column(title=name, is_number=False) for name in ("Setting", contrast.first, contrast.second)
    ]
    rows = [
        [escape(name), *(escape(str(tree.get(name, NOTHING))) for tree in (one, other))]
        for name in names
    ]
    caption = f"Settings in which {contrast.first} and {contrast.second} differ"
    return folded(
        f"{title}{len(names)} differ{'s' * (len(names) == 1)}", table(caption, columns, rows)
    )


def _within_arms(view: PageView) -> str:
    """Warning about arms whose runs at one share and budget differ in more than the seed."""
    primary = view.results.primary
    found = []
    for arm in view.study.arms:
        flat = [dict(leaves(one.config)) for one in view.results.of_arm(arm.name, primary)]
        names = dict.fromkeys(name for one in flat for name in one)
        differ = [
            name
            for name in names
            if name != "seed"
            and name not in HARMLESS
            and len({str(one.get(name)) for one in flat}) > 1
        ]
        if differ:
            found.append(f"Runs of {arm.name} differ in {listed(differ)} besides the seed.")
    return "".join(map(mark, found))


def _configurations(firsts: Mapping[str, RunRecord | None]) -> str:
    return "".join(
        folded(
            f"Configuration of {arm}, seed {record.name.seed}",
            f"<pre>{escape(toml_text(record.config))}</pre>",
        )
        for arm, record in firsts.items()
        if record is not None and record.config
    )
