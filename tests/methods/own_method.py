"""Classes of a user, as text: a method, an opponent, and a package that brings them."""

from pathlib import Path

METHOD = '''"""A method of somebody else's."""

from sparring.methods.about import About
from sparring.methods.method import Method, MethodLoss


class Mine(Method):
    """Pulls the views of an image together."""

    about = About(name="mine", title="Mine", summary="pull views together")

    def __init__(self, encoder, settings, *, generator):
        super().__init__()
        self.encoder = encoder

    def loss(self, views, context):
        """Squared distance."""
        left, right = (context.forward(view, self.encoder) for view in views)
        return MethodLoss(loss=(left - right).square().sum(dim=1).mean())

    def step(self, views, players, context):
        """The encoder's update."""
        return {"loss": players["encoder"].update(self.loss(views, context).loss)}
'''
OPPONENT = '''"""An opponent of somebody else's."""

from sparring.config import Settings
from sparring.opponents.opponent import Opponent


class DoingNothingSettings(Settings):
    """How much it does."""

    strength: float = 1.0


class DoingNothing(Opponent):
    """Leaves everything as it is."""

    settings_class = DoingNothingSettings

    def __init__(self, method, settings):
        super().__init__(method)
        self.settings = settings

    def step(self, views, players, context):
        """The method's round."""
        return self.method.step(views, players, context)
'''


def written(path: Path, text: str = METHOD) -> Path:
    """A file of that text."""
    path.write_text(text)
    return path


def installed_package(folder: Path, entry_points: str, **modules: str) -> None:
    """A package as pip would have put it into a folder of the import path.

    Args:
        folder: in the import path.
        entry_points: text of `entry_points.txt`.
        modules: text of each module by its name.
    """
    for name, text in modules.items():
        written(folder / f"{name}.py", text)
    metadata = folder / "somebodys_methods-1.0.dist-info"
    metadata.mkdir()
    written(metadata / "METADATA", "Metadata-Version: 2.1\nName: somebodys-methods\nVersion: 1.0\n")
    written(metadata / "entry_points.txt", entry_points)
