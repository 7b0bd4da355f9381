"""A run's configuration as a recipe in which every setting is explained."""

import shlex

from sparring.config import Tree
from sparring.methods import registry
from sparring.methods.setting_docs import explained_toml, setting_comments
from sparring.training.settings import RunConfig

NORMALISATION = ("mean", "std")
"""Settings of the encoder that follow from its start weights."""
HEAD = """\
# All settings of a run. Train it with:
#   sparring train --recipe FILE.toml --data {data} --out RUN
# "not set" (None in the explanations): decided when the run starts, by its images,
# its start weights or its device.

"""


def config_text(config: RunConfig) -> str:
    """The configuration as TOML that `--recipe` reads back to the same configuration.

    Args:
        config: configuration, perhaps before its images are opened.
    """
    tree = _without_followers(config)
    if not config.data.path:
        del tree["data"]["path"]
    comments = setting_comments(config) | setting_comments(config.method_settings)
    for name, settings in config.opponent_settings.items():
        comments |= setting_comments(settings, f"{registry.section_of(name)}.")
    data = shlex.quote(config.data.path) if config.data.path else "PATH"
    return HEAD.format(data=data) + explained_toml(tree, comments)


def _without_followers(config: RunConfig) -> Tree:
    """The configuration without what its start weights decide where nothing else is asked for.

    Said in a recipe, the normalisation would be asked for, and not that of the weights.
    """
    tree, asked = config.tree(), config.encoder.model_fields_set
    if config.encoder.weights is not None:
        tree["encoder"] |= {name: None for name in NORMALISATION if name not in asked}
    return tree
