"""A run's configuration as a recipe in which every setting is explained."""

import shlex

from sparring.methods import registry
from sparring.methods.setting_docs import explained_toml, setting_comments
from sparring.training.settings import RunConfig

HEAD = """\
# All settings of a run. Train it with:
#   sparring train --recipe FILE.toml --data {data} --out RUN
# "not set" (None in the explanations): decided when the run starts, by its images or its device.

"""


def config_text(config: RunConfig) -> str:
    """The configuration as TOML that `--recipe` reads back to the same configuration.

    Args:
        config: configuration, perhaps before its images are opened.
    """
    tree = config.tree()
    if not config.data.path:
        del tree["data"]["path"]
    comments = setting_comments(config) | setting_comments(config.method_settings)
    for name, settings in config.opponent_settings.items():
        comments |= setting_comments(settings, f"{registry.section_of(name)}.")
    data = shlex.quote(config.data.path) if config.data.path else "PATH"
    return HEAD.format(data=data) + explained_toml(tree, comments)
