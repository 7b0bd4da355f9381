"""Presets say what the papers say, overrides reach every view, and mistakes are named."""

import pytest

from sparring.data.views.view_settings import PRESETS, ViewSettings, ViewsSettings
from sparring.errors import ConfigError


def colour(view: ViewSettings) -> tuple[float, ...]:
    return (view.jitter, view.brightness, view.contrast, view.saturation, view.hue, view.greyscale)


@pytest.mark.parametrize(
    ("preset", "scale", "colours", "blurs", "solarises"),
    [
        ("simclr-cifar", (0.08, 1), (0.8, 0.4, 0.4, 0.4, 0.1, 0.2), [0, 0], [0, 0]),
        ("simclr-imagenet", (0.08, 1), (0.8, 0.8, 0.8, 0.8, 0.2, 0.2), [0.5, 0.5], [0, 0]),
        ("mocov2", (0.2, 1), (0.8, 0.4, 0.4, 0.4, 0.1, 0.2), [0.5, 0.5], [0, 0]),
        ("mocov2-small", (0.2, 1), (0.8, 0.4, 0.4, 0.4, 0.1, 0.2), [0, 0], [0, 0]),
        ("mocov3", (0.2, 1), (0.8, 0.4, 0.4, 0.2, 0.1, 0.2), [1, 0.1], [0, 0.2]),
        ("byol", (0.08, 1), (0.8, 0.4, 0.4, 0.2, 0.1, 0.2), [1, 0.1], [0, 0.2]),
    ],
)
def test_presets_of_two_views_follow_their_papers(
    preset: str,
    scale: tuple[float, float],
    colours: tuple[float, ...],
    blurs: list[float],
    solarises: list[float],
) -> None:
    views = ViewsSettings(preset=preset).resolve(32)
    assert [view.size for view in views] == [32, 32]
    assert [view.blur for view in views] == blurs
    assert [view.solarise for view in views] == solarises
    for view in views:
        assert (view.crop_scale, view.flip, view.blur_sigma) == (scale, 0.5, (0.1, 2.0))
        assert view.crop_ratio == (3 / 4, 4 / 3)
        assert colour(view) == colours


@pytest.mark.parametrize(
    ("image_size", "sizes"),
    [
        (224, [224, 224, 192, 160, 128, 96]),
        (96, [96, 96, 84, 68, 56, 40]),
        (32, [32, 32, 28, 24, 20, 12]),
        (30, [30, 30, 24, 20, 16, 12]),
    ],
)
def test_multi_crop_keeps_the_published_shares_of_the_image_size(
    image_size: int, sizes: list[int]
) -> None:
    views = ViewsSettings(preset="multi-crop-adco").resolve(image_size)
    assert [view.size for view in views] == sizes
    assert [view.crop_scale for view in views[1:]] == [
        (0.2, 1.0),
        (0.172, 0.86),
        (0.143, 0.715),
        (0.114, 0.571),
        (0.086, 0.429),
    ]
    assert all(
        colour(view) == (0.8, 0.4, 0.4, 0.4, 0.1, 0.2) and view.blur == 0.5 for view in views
    )


@pytest.mark.parametrize(
    ("image_size", "patch_size", "sizes"),
    [
        (224, 16, [192, 160, 128, 96]),
        (224, 14, [196, 154, 126, 98]),
        (64, 8, [56, 48, 40, 24]),
        (32, 4, [28, 24, 20, 12]),
    ],
)
def test_the_patches_of_a_transformer_divide_every_smaller_crop(
    image_size: int, patch_size: int, sizes: list[int]
) -> None:
    views = ViewsSettings(preset="multi-crop-adco").resolve(image_size, patch_size=patch_size)
    assert [view.size for view in views[2:]] == sizes
    small = ViewsSettings(preset="multi-crop-caco").resolve(image_size, patch_size=patch_size)
    assert {view.size for view in small} == {image_size, sizes[-1]}


@pytest.mark.parametrize("preset", PRESETS)
def test_an_override_reaches_every_view_and_nothing_else(preset: str) -> None:
    plain = ViewsSettings(preset=preset).resolve(32)
    changed = ViewsSettings(preset=preset, blur=0.25, crop_scale=(0.5, 0.6), solarise=0.0).resolve(
        32
    )
    for before, after in zip(plain, changed, strict=True):
        assert after == before.model_copy(
            update={"blur": 0.25, "crop_scale": (0.5, 0.6), "solarise": 0.0}
        )


def test_every_setting_of_a_view_except_its_size_can_be_overridden() -> None:
    assert set(ViewsSettings.model_fields) - {"preset"} == set(ViewSettings.model_fields) - {"size"}


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'simclr-cifar'"):
        ViewsSettings.build({"preset": "simclr-cifra"}, where="views")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("crop_scale", (0.0, 1.0)),
        ("crop_scale", (0.5, 0.2)),
        ("crop_scale", (0.5, 1.2)),
        ("blur_sigma", (2.0, 0.1)),
        ("flip", 1.5),
        ("hue", 0.6),
        ("brightness", -0.1),
    ],
)
def test_values_out_of_range_are_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"views\.{key}"):
        ViewsSettings.build({key: value}, where="views")
