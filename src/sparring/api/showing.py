"""Public functions that show what there is: report, lists."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from sparring.api.common import Run, folder_of, heard_by
from sparring.api.study_reports import only_study, report_study
from sparring.data.sources.source import ImageData
from sparring.errors import UsageError
from sparring.evaluation.catalogue import PROTOCOLS
from sparring.evaluation.protocol import Protocol
from sparring.files import refuse_folders
from sparring.methods import registry
from sparring.methods.about import About
from sparring.training.listener import Listener
from sparring.training.run_folder import RunFolder

_ONE = (str, Path, Run)


def report(
    runs: str | Path | Run | Sequence[str | Path | Run],
    *,
    out: str | Path = "report.html",
    data: ImageData | None = None,
    backbone: nn.Module | None = None,
    listener: Listener | None = None,
    progress: bool = True,
) -> Path:
    """Write one self-contained HTML page about one or several runs, or about a study.

    A study's tables are written beside its page, as Markdown, CSV and LaTeX, and its figures as
    SVG.

    Args:
        runs: one run folder, or several in the order of the page; or the folder of one study.
        out: HTML file to write.
        data: images to show, as `train` takes them; default: each run's own. A study shows those
            that its runs were scored on.
        backbone: the network of your own with which the runs were trained, if any.
        listener: told what happens; None: progress is shown on standard error.
        progress: False shows nothing.
    """
    refuse_folders(out)
    paths = [folder_of(run).path for run in ([runs] if isinstance(runs, _ONE) else runs)]
    if (study := only_study(paths)) is not None:
        if data is not None or backbone is not None:
            raise UsageError(f"{study.path} is a study, which names its images; leave them out")
        return report_study(study, Path(out))[0]
    # Only a report needs them, and no training should wait for them.
    from sparring.reporting.illustration import illustrated
    from sparring.reporting.report import write_report

    summaries = []
    with heard_by(listener, progress=progress) as heard:
        for number, path in enumerate(paths):
            folder = RunFolder(path)
            folder.require()
            summaries.append(illustrated(folder, data, backbone=backbone))
            if heard is not None:
                heard.count("reading runs", number + 1, len(paths))
    return write_report(summaries, out)


def list_methods() -> dict[str, About]:
    """Introductions of all methods and of all opponents around them, by name.

    Shipped ones come first, then those of installed packages.
    """
    return {
        name: registry.about(kind, name) for kind in registry.KINDS for name in registry.names(kind)
    }


def list_protocols() -> dict[str, Protocol]:
    """Evaluation protocols that the library ships, by name, in the order of its lists."""
    return dict(PROTOCOLS)
