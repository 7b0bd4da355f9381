"""The folder for the Hub, loaded by timm, PyTorch and huggingface_hub, and its card."""

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from exported_runs import exported_run, random_images
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from sparring.data.decode import centre_square, decode
from sparring.errors import ConfigError, UsageError
from sparring.formats.hub_folder import write_hub_folder
from sparring.formats.model_card import ExportedRun
from sparring.formats.settings_shown import recipe_of, without_places
from sparring.models.backbones import Backbone
from sparring.models.encoder import Encoder
from sparring.training.scores import ImageSet, ScoredResult, Scores

TOLERANCE = 1e-4
"""Two implementations of one network add in different orders; features are of order one."""
TRANSFORMER = {"backbone": "vit_tiny_patch16_224", "depth": 2}
FORBIDS_SPARRING = """
import sys
class Forbids:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "sparring":
            raise ImportError("sparring is not there")
sys.meta_path.insert(0, Forbids())
"""


def scored(result: dict[str, Any], encoder: str = "trained") -> ScoredResult:
    """A result of kNN on 200 of a user's images."""
    return ScoredResult(
        encoder=encoder,
        protocol="knn",
        step=7,
        test=ImageSet(name="/home/me/test-photos", images=200),
        result=result,
    )


SCORES = Scores(
    results=(
        scored({"accuracy": 0.23, "interval": [0.177, 0.293]}),
        scored({"accuracy": 0.185, "interval": [0.137, 0.245]}, "untrained"),
    ),
    step=7,
)


def loaded_features(folder: Path, run: ExportedRun, images: torch.Tensor) -> torch.Tensor:
    """Features of what timm loads from the folder, of images normalised as config.json says."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    cfg = timm.data.resolve_model_data_config(model)
    assert tuple(cfg["input_size"]) == tuple(images.shape[1:])
    mean, std = (torch.tensor(cfg[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        features = model((images - mean) / std)
    assert isinstance(features, torch.Tensor)
    return features


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image_size", "channels", "shape"),
    [
        (96, 3, {"width": 0.125}),
        (96, 4, {"width": 0.25, "small_images": False}),
        (32, 3, {"width": 0.3, "small_images": False, "backbone": "resnet50"}),
        (96, 1, {"width": 1.0}),
        (32, 3, {**TRANSFORMER, "width": 0.5}),
        (32, 4, {**TRANSFORMER, "heads": 6, "fixed_positions": True}),
        (64, 2, {"backbone": "mobilenetv4_conv_small"}),
    ],
)
def test_timm_loads_the_folder_with_the_encoders_features(
    tmp_path: Path, image_size: int, channels: int, shape: dict[str, Any]
) -> None:
    run = exported_run(image_size=image_size, channels=channels, **shape)
    write_hub_folder(run, tmp_path / "model", licence="mit")
    images = random_images(run)
    found = loaded_features(tmp_path / "model", run, images)
    torch.testing.assert_close(found, run.encoder.features(images), atol=TOLERANCE, rtol=TOLERANCE)
    assert not (tmp_path / "model" / "model.pt2").exists()


def test_a_classifier_for_fine_tuning_is_added_by_timm(tmp_path: Path) -> None:
    run = exported_run(image_size=96, width=0.125)
    write_hub_folder(run, tmp_path / "model", licence="mit")
    model = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True, num_classes=5)
    assert model(random_images(run)).shape == (4, 5)


def test_a_narrow_networks_own_weights_lie_beside_those_for_timm(tmp_path: Path) -> None:
    run = exported_run(image_size=96, width=0.125)
    write_hub_folder(run, tmp_path / "model", licence="mit")
    exact, wide = (load_file(tmp_path / "model" / f"{name}.safetensors") for name in FILES)
    own = run.encoder.backbone.network.state_dict()
    assert exact.keys() == own.keys()
    assert all(torch.equal(exact[name], own[name]) for name in own)
    assert exact["conv1.weight"].shape[0] == 8
    assert wide["conv1.weight"].shape[0] == 64
    assert not wide["conv1.weight"][8:].any()


FILES = ("backbone", "model")


def python_blocks(card: str) -> list[str]:
    """Python code of a card."""
    return re.findall(r"^```python\n(.*?)^```", card, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape", [{"width": 0.125}, {"width": 1.5, "small_images": False}], ids=["stem", "wide"]
)
def test_what_timm_cannot_name_is_loaded_without_this_library_by_the_lines_of_its_card(
    tmp_path: Path, shape: dict[str, Any]
) -> None:
    run, folder = exported_run(**shape), tmp_path / "model"
    code = write_hub_folder(run, folder, licence="other")
    assert not (folder / "config.json").exists()
    assert "# timm cannot load this folder by its name: timm" in code
    card = (folder / "README.md").read_text()
    assert "cannot load this folder by its name: timm" in card
    assert "sparring train --data photos/ --out runs/further " in card  # both are required
    images = random_images(run, 8)
    torch.save(images, tmp_path / "images.pt")
    program, lines = (re.sub(r"images = .*", "", block) for block in python_blocks(card))
    script = "\n".join(
        [
            FORBIDS_SPARRING,
            "import torch",
            f"images = torch.load({str(tmp_path / 'images.pt')!r})",
            program,
            f"{lines}",
            f"mean, std = torch.tensor({list(run.config.encoder.mean)}), "
            f"torch.tensor({list(run.config.encoder.std)})",
            "normalised = (images - mean[:, None, None]) / std[:, None, None]",
            "with torch.no_grad():",
            "    exact = model.eval()(normalised)",
            f"torch.save((features, exact), {str(tmp_path / 'features.pt')!r})",
            "assert 'sparring' not in sys.modules",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for found in torch.load(tmp_path / "features.pt"):
        torch.testing.assert_close(
            found, run.encoder.features(images), atol=TOLERANCE, rtol=TOLERANCE
        )


def test_the_clients_of_the_hub_read_the_card(tmp_path: Path) -> None:
    from huggingface_hub import CommitOperationAdd, ModelCard

    run = exported_run(image_size=96, width=0.125, data={"path": "hf:me/photos"}, scores=SCORES)
    write_hub_folder(run, tmp_path / "narrow", licence="cc-by-4.0")
    card = ModelCard.load(tmp_path / "narrow" / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert card.data.library_name == "timm"
    assert card.data.pipeline_tag == "image-feature-extraction"
    assert card.data.datasets == ["me/photos"]
    assert card.data.model_name == "narrow"
    (result,) = card.data.eval_results or []
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.23)
    assert result.dataset_name == "test-photos"
    assert "one seed" in str(result.metric_name)
    for path in (tmp_path / "narrow").iterdir():
        operation = CommitOperationAdd(path_in_repo=path.name, path_or_fileobj=path)
        assert operation.upload_info.size == path.stat().st_size > 0


def test_the_card_says_scores_with_intervals_beside_the_untrained_encoder(tmp_path: Path) -> None:
    run = exported_run(image_size=96, width=0.125, scores=SCORES)
    write_hub_folder(run, tmp_path / "model", licence="other")
    card = (tmp_path / "model" / "README.md").read_text()
    row = "| Nearest neighbours (kNN) | 23.0 % | 17.7 to 29.3 % | 18.5 % | 200, test-photos |"
    assert row in card.splitlines()
    assert "One seed" in card
    assert "The weights belong to whoever trained them" in card
    assert "No licence has been chosen" in card


def test_no_place_of_this_machine_leaves_with_the_folder(tmp_path: Path) -> None:
    run = exported_run(
        image_size=96,
        width=0.125,
        data={"path": "/home/me/photos", "cache": "/scratch/me"},
        environment={"command": "sparring train --recipe /home/me/own.toml --data /home/me/photos"},
        scores=SCORES,
    )
    write_hub_folder(run, tmp_path / "model", licence="mit")
    for name in ("README.md", "config.json", "config.toml"):
        text = (tmp_path / "model" / name).read_text()
        assert "/home/" not in text
        assert "scratch" not in text
        assert str(tmp_path) not in text
    tree = tomllib.loads((tmp_path / "model" / "config.toml").read_text())
    assert tree["data"]["path"] == "photos"
    assert "own.toml" in (tmp_path / "model" / "README.md").read_text()


def test_a_run_of_a_program_is_not_said_to_have_no_recipe(tmp_path: Path) -> None:
    run = exported_run(image_size=96, width=0.125, environment={"command": "my_script.py"})
    write_hub_folder(run, tmp_path / "model", licence="mit")
    assert "**Recipe:** not recorded" in (tmp_path / "model" / "README.md").read_text()


def test_a_bar_in_a_name_breaks_no_table_of_the_card(tmp_path: Path) -> None:
    named = replace(SCORES.results[0], test=ImageSet(name="a|b", images=200))
    run = exported_run(image_size=96, width=0.125, scores=Scores(results=(named,), step=7))
    write_hub_folder(run, tmp_path / "model", licence="mit")
    assert "| 200, a\\|b |" in (tmp_path / "model" / "README.md").read_text()


def test_the_cards_lines_give_a_photographs_features_upright(tmp_path: Path) -> None:
    run = exported_run(image_size=96, width=0.125)
    write_hub_folder(run, tmp_path / "model", licence="mit")
    corners = torch.tensor([[[0, 255], [90, 180]], [[255, 0], [30, 60]], [[0, 80], [255, 9]]])
    large = nn.functional.interpolate(corners[None].float(), (120, 90), mode="bilinear")[0]
    turned = Image.Exif()
    turned[0x112] = 6  # a quarter turn to the right
    photo = tmp_path / "photo.jpg"
    Image.fromarray(large.byte().permute(1, 2, 0).numpy()).save(photo, quality=95, exif=turned)
    (block,) = python_blocks((tmp_path / "model" / "README.md").read_text())[:1]
    block = block.replace("hf-hub:USER/NAME", f"local-dir:{tmp_path / 'model'}")
    found: dict[str, Any] = {}
    exec(block.replace("photo.jpg", str(photo)), found)
    square = centre_square(decode(photo.read_bytes()), 96)
    wanted = run.encoder.features(square[None].float() / 255)
    # timm resizes before it cuts, and rounds pixels elsewhere; a turned photograph differs by 0.2.
    assert float((found["features"] - wanted).norm() / wanted.norm()) < 0.02


def test_values_of_a_range_of_their_own_are_not_read_as_bytes(tmp_path: Path) -> None:
    run = exported_run(image_size=96, width=0.125, channels=1, data={"value_range": (0, 4095)})
    write_hub_folder(run, tmp_path / "model", licence="mit")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "Image.open" not in card
    assert "yours, scaled to [0, 1]" in card


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not an empty folder; remove it or choose another"):
        write_hub_folder(exported_run(width=0.0625), tmp_path / "model", licence="mit")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["notes.txt"]


def test_a_folder_whose_features_would_differ_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = exported_run(image_size=96, width=0.125)
    wrong = replace(run, encoder=exported_run(image_size=96, width=0.125).encoder)
    monkeypatch.setattr(
        "sparring.formats.timm_folder.widened",
        lambda state, shapes: {name: torch.ones(shape) for name, shape in shapes.items()},
    )
    with pytest.raises(Exception, match="has other features than this run's encoder"):
        write_hub_folder(wrong, tmp_path / "model", licence="mit")
    assert list(tmp_path.iterdir()) == []


def test_a_licence_that_is_no_identifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--licence 'My own!' is no identifier of the Hub"):
        write_hub_folder(exported_run(width=0.0625), tmp_path / "model", licence="My own!")


def test_the_settings_of_timm_say_how_images_are_prepared(tmp_path: Path) -> None:
    run = exported_run(image_size=96, width=0.125, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    write_hub_folder(run, tmp_path / "model", licence="mit")
    tree = json.loads((tmp_path / "model" / "config.json").read_text())
    assert tree["num_features"] == 64
    assert tree["model_args"] == {"channels": [8, 16, 32, 64]}
    known = tree["pretrained_cfg"]
    assert (known["mean"], known["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert (known["input_size"], known["crop_pct"]) == ([3, 96, 96], 1.0)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/home/me/photos/", "photos"),
        ("C:\\Users\\me\\photos", "photos"),
        ("https://me:secret@host/set.tar?key=1", "set.tar"),
        ("pipe:cat /home/me/x.tar", ""),
        ("hf:me/photos", "hf:me/photos"),
        ("hf:/home/me/photos", "photos"),
        ("photos", "photos"),
        (["/a/b", 3, None], ["b", 3, None]),
    ],
)
def test_a_place_is_shown_by_its_last_part(given: object, shown: object) -> None:
    assert without_places(given) == shown


@pytest.mark.parametrize(
    ("command", "recipe"),
    [
        ("sparring train --recipe simclr-small --data x", "simclr-small"),
        ("sparring train --recipe=/home/me/own.toml", "own.toml"),
        ("sparring train --data x", ""),
        ("sparring train --recipe", ""),
        ("it's broken", None),
        ("my_script.py", None),
        ("sparring compare --recipes a,b", None),
    ],
)
def test_the_recipe_is_read_from_the_command(command: str, recipe: str | None) -> None:
    assert recipe_of({"command": command}) == recipe


@pytest.mark.slow
def test_a_network_that_keeps_its_maps_is_written_as_a_program(tmp_path: Path) -> None:
    run = exported_run(image_size=32, width=0.0625, small_images=False)
    run.encoder.backbone.network.global_pool = nn.Identity()  # type: ignore[assignment]
    code = write_hub_folder(run, tmp_path / "model", licence="mit")
    assert "does not average its output" in code
    assert (tmp_path / "model" / "model.pt2").exists()


class Sharing(nn.Module):
    """Network of one's own, two layers of which are the same; its output is a map."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3)
        self.again = self.first

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the map."""
        maps: torch.Tensor = self.again(torch.relu(self.first(images)))
        return maps


@pytest.mark.slow
def test_a_network_of_your_own_that_shares_weights_is_written_as_a_program(tmp_path: Path) -> None:
    run = exported_run(width=0.0625)
    backbone, none = Backbone(Sharing(), image_size=32), (0.0, 0.0, 0.0)
    encoder = Encoder(backbone, nn.Identity(), mean=none, std=(1.0, 1.0, 1.0))
    config = run.config.changed(encoder={"backbone": "custom:Sharing", "width": 1.0})
    run = replace(run, encoder=encoder.eval().requires_grad_(False), config=config)
    code = write_hub_folder(run, tmp_path / "model", licence="mit")
    assert "Sharing is a network of your own" in code
    with zipfile.ZipFile(tmp_path / "model" / "model.pt2") as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert b"feature_network.py" not in content
    assert str(Path.cwd()).encode() not in content
    program = torch.export.load(tmp_path / "model" / "model.pt2").module()
    images = random_images(run)
    torch.testing.assert_close(program(images), encoder.features(images))
