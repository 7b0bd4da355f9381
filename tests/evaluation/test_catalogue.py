"""The list of protocols: what is declared, what is found, and one sentence for what is not."""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from pixel_encoder import coloured, run

from sparring.errors import ConfigError
from sparring.evaluation import catalogue
from sparring.evaluation.catalogue import (
    PROTOCOLS,
    choose,
    find,
    headline_of,
    in_order,
    installed,
    title_of,
)
from sparring.evaluation.protocol import Protocol, Result
from sparring.methods import plugins

MINE = """
from sparring.config import Settings
from sparring.evaluation.protocol import Protocol

class ShareSettings(Settings):
    digits: int = 3

def share(evaluated, data, settings):
    found = data.labelled(evaluated)
    return {"share": round(float((found.test_labels == 0).double().mean()), settings.digits)}

SHARE = Protocol(
    name="share-of-first",
    function="share",
    settings="ShareSettings",
    headline="share",
    variants={"rough": {"digits": 1}},
)
PROTOCOL = Protocol(name="whole", function=share, settings=ShareSettings)
"""


def test_an_unknown_protocol_variant_or_setting_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'linear'"):
        choose(["knn", "liner"])
    with pytest.raises(ConfigError, match=r"knn' has no variants, got 'knn:adco'"):
        choose(["knn:adco"])
    with pytest.raises(ConfigError, match=r"did you mean 'knn\.temperature'"):
        choose(["knn"], {"knn": {"temperatur": 0.2}})
    with pytest.raises(
        ConfigError, match=r"linear\.validation_share': that protocol was not asked for"
    ):
        choose(["knn"], {"linear": {"validation_share": 0.1}})
    with pytest.raises(ConfigError, match=r"unknown setting 'temperature'"):
        choose(["knn"], {"temperature": 0.2})
    with pytest.raises(ConfigError, match="no protocol given"):
        choose([])


def test_settings_are_defaults_then_the_variant_then_what_was_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = replace(PROTOCOLS["knn"], variants={"wu": {"temperature": 0.07, "num_neighbors": 20}})
    monkeypatch.setitem(PROTOCOLS, "knn", entry)
    plain, variant = choose(["knn", "knn:wu"], {"knn": {"num_neighbors": 5}})
    assert (plain.settings.model_dump(), variant.settings.model_dump()) == (
        {"num_neighbors": 5, "temperature": 0.1},
        {"num_neighbors": 5, "temperature": 0.07},
    )
    assert title_of("knn:wu") == "Nearest neighbours (kNN), wu"
    with pytest.raises(ConfigError, match="did you mean 'wu'"):
        choose(["knn:wuu"])


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_is_documented_and_its_variants_are_valid(name: str) -> None:
    entry = PROTOCOLS[name]
    assert entry.question.endswith("?")
    assert entry.source
    assert (entry.load_function().__doc__ or "").strip()
    assert entry.load_settings().__doc__
    for variant in entry.variants:
        choose([f"{name}:{variant}"])


def test_headlines_are_found_by_the_protocols_own_key() -> None:
    assert headline_of("knn", {"accuracy": 0.5}) == 0.5
    assert headline_of("geometry", {"effective_rank": 3.0}) is None
    assert headline_of("of another version", {"accuracy": 0.25}) == 0.25


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_is_read_from_a_file_is_what_the_file_declares(name: str) -> None:
    protocol = PROTOCOLS[name]
    assert protocol.name == name
    declared = import_module(protocol.module).PROTOCOL
    assert replace(declared, module=protocol.module) == protocol


def test_the_list_keeps_its_order() -> None:
    assert list(PROTOCOLS)[:3] == ["knn", "linear", "geometry"]
    assert list(PROTOCOLS)[-2:] == ["segmentation", "pixel-probe"]
    assert tuple(PROTOCOLS) == catalogue._ORDER
    assert in_order(["mine", "finetune", "linear:adco", "knn"]) == [
        "knn",
        "linear:adco",
        "finetune",
        "mine",
    ]


def test_the_list_is_read_without_torch() -> None:
    code = (
        "import sparring.evaluation.catalogue as c, sys; c.installed(); "
        "sys.exit('torch' in sys.modules or not c.PROTOCOLS)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_name_is_taken_for_a_list_of_one() -> None:
    assert [chosen.name for chosen in choose("knn")] == ["knn"]
    assert [chosen.name for chosen in choose("knn, linear:adco")] == ["knn", "linear:adco"]
    assert [chosen.name for chosen in choose(PROTOCOLS["knn"])] == ["knn"]


def test_a_protocol_of_a_file_is_run_by_its_name_with_variant_and_settings(tmp_path: Path) -> None:
    text = f"{written(tmp_path)}:SHARE"
    results = run([text, f"{text}:rough"], coloured(30, 0), coloured(30, 1))
    assert results["share-of-first"] == {"headline": "share", "share": 0.333}
    assert results["share-of-first:rough"]["share"] == 0.3
    (chosen,) = choose([text], {"share-of-first": {"digits": 2}})
    assert chosen.settings.model_dump() == {"digits": 2}


def test_a_result_from_outside_names_its_own_headline() -> None:
    result = {"headline": "share", "share": 0.25, "accuracy": 0.5}
    assert headline_of("share-of-first", result) == 0.25
    assert headline_of("share-of-first", {**result, "headline": ""}) is None


def test_a_protocol_of_a_module_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "scores_of_mine.py")
    monkeypatch.syspath_prepend(tmp_path)
    assert find("scores_of_mine:SHARE:rough")[1] == "rough"
    assert find("scores_of_mine:PROTOCOL")[0].name == "whole"


def test_a_declaration_is_taken_as_it_is() -> None:
    def constant(evaluated: object, data: object, settings: object) -> Result:
        return {"accuracy": 1.0}

    mine = Protocol(name="constant", function=constant, labels="none")
    assert run([mine], coloured(9, 0)[0], None)["constant"]["accuracy"] == 1
    with pytest.raises(ConfigError, match="two protocols are called 'constant'"):
        choose([mine, replace(mine, headline="other")])


def test_the_librarys_own_declaration_is_the_protocol_of_the_list() -> None:
    from sparring.evaluation.frozen.knn import PROTOCOL

    assert choose([PROTOCOL])[0].protocol is PROTOCOLS["knn"]
    assert find("sparring.evaluation.frozen.knn:PROTOCOL")[0] is PROTOCOLS["knn"]


def test_no_protocol_takes_a_name_in_use() -> None:
    with pytest.raises(ConfigError, match="a protocol 'knn' exists; give yours another name"):
        choose([replace(PROTOCOLS["knn"], headline="other")])
    with pytest.raises(ConfigError, match="only letters, digits, '-' and '_', got 'a:b'"):
        Protocol(name="a:b", function="f")


def test_a_function_given_by_name_must_be_findable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="declare it with settings=ShareSettings"):
        choose([Protocol(name="mine", function="share", settings="ShareSettings")])
    path = written(tmp_path, text=MINE.replace('settings="Share', 'settings="Sare'))
    with pytest.raises(ConfigError, match="did you mean 'ShareSettings'"):
        choose([f"{path}:SHARE"])


def test_what_is_given_in_place_of_a_protocol_is_told_in_one_line(tmp_path: Path) -> None:
    path = written(tmp_path)
    for text, sentence in (
        (f"{path}:SHAR", "has no 'SHAR'; did you mean 'SHARE'?"),
        (f"{path}:share", "is of type function; .* declares SHARE, PROTOCOL"),
        (str(path), "write FILE.py:NAME"),
        (f"{tmp_path}/nowhere.py:SHARE", "no such file"),
        ("nowhere.at_all:SHARE", "no module named 'nowhere.at_all' can be imported"),
        ("liner:adco", "did you mean 'linear'.*, FILE.py:NAME, package.module:NAME$"),
        (f"{path}:SHARE:rugh", "did you mean 'rough'"),
    ):
        with pytest.raises(ConfigError, match=sentence) as caught:
            choose([text])
        assert "\n" not in str(caught.value)


def test_protocols_of_installed_packages_are_listed_and_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "installed_scores.py")
    monkeypatch.syspath_prepend(tmp_path)
    install(
        monkeypatch,
        share="installed_scores:SHARE",
        module="installed_scores",
        broken="installed_scores:NOTHING",
        absent="installed_nowhere:SHARE",
        function="installed_scores:share",
        knn="installed_scores:SHARE",
    )
    assert list(installed()) == ["absent", "broken", "function", "module", "share"]
    assert "installed_scores" not in sys.modules
    (chosen,) = choose(["share:rough"])
    assert (chosen.name, chosen.settings.model_dump()) == ("share:rough", {"digits": 1})
    assert find("module")[0].load_function().__name__ == "share"
    assert find("knn")[0] is PROTOCOLS["knn"]
    for name, sentence in (
        ("broken", "protocol 'broken': importing installed_scores:NOTHING fails with Attribute"),
        ("absent", "fails with ModuleNotFoundError: No module named 'installed_nowhere'"),
        ("function", "protocol 'function' is of type function"),
        ("shar", "did you mean 'share'"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            choose([name])
    with pytest.raises(ConfigError, match=r"setting 'share\.digits': .* add it to --protocol"):
        choose(["knn"], {"share": {"digits": 2}})


def test_facts_are_json() -> None:
    facts = json.loads(json.dumps(PROTOCOLS["knn"].facts()))
    assert (facts["function"], facts["settings"]) == ("knn", "KnnSettings")
    assert Protocol(name="mine", function=run).facts()["function"] == "run"


def written(folder: Path, name: str = "mine.py", *, text: str = MINE) -> Path:
    """A file with two protocols."""
    (folder / name).write_text(text)
    return folder / name


def install(monkeypatch: pytest.MonkeyPatch, **points: str) -> None:
    """Pretend that packages with these entry points are installed."""

    def entry_points(*, group: str) -> Iterable[EntryPoint]:
        return [EntryPoint(name, value, group) for name, value in points.items()]

    monkeypatch.setattr(plugins, "entry_points", entry_points)
