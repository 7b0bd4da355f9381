"""Results are kept with what they are of, and shown beside their own checkpoint only."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparring.errors import RunError
from sparring.training.run_folder import RunFolder
from sparring.training.scores import (
    ImageSet,
    ScoredResult,
    Scores,
    add_result,
    mark_scores,
    read_scores,
    write_scores,
)

PHOTOS = ImageSet.of("photos", ["a.png", "b.png"])


def scored(accuracy: float, encoder: str = "trained", *, step: int = 4, **of: Any) -> ScoredResult:
    return ScoredResult(
        encoder=encoder,
        protocol="knn",
        step=step if encoder == "trained" else 0,
        train=ImageSet(name="train"),
        result={"accuracy": accuracy},
        **{"test": replace(PHOTOS, name="photos"), **of},
    )


def collected(*results: ScoredResult, step: int = 4) -> Scores:
    scores = Scores(step=step)
    for one in results:
        scores = scores.added(one)
    return scores


def accuracies(scores: Scores, encoder: str = "trained") -> list[float]:
    return [one.result["accuracy"] for one in scores.present()[encoder].values()]


def test_a_result_of_the_same_key_replaces_the_earlier_one() -> None:
    scores = collected(scored(0.1), scored(0.2))
    assert [one.result["accuracy"] for one in scores.results] == [0.2]


@pytest.mark.parametrize(
    "other",
    [
        {"step": 8},
        {"settings": {"num_neighbors": 5}},
        {"seed": 1},
        {"test": ImageSet.of("photos", ["a.png", "c.png"])},
        {"test": ImageSet.of("others", ["a.png", "b.png"])},
        {"test": ImageSet(name="a set of which only the name is known")},
    ],
    ids=["step", "settings", "seed", "rows", "content", "name"],
)
def test_a_result_of_anything_else_is_kept_beside_it(other: dict[str, Any]) -> None:
    scores = collected(scored(0.1), scored(0.2, **other))
    assert [one.result["accuracy"] for one in scores.results] == [0.1, 0.2]
    names = {one.file_name for one in scores.results}
    assert len(names) == 2


def test_the_same_images_under_another_name_are_the_same_images() -> None:
    moved = replace(PHOTOS, name="copies")
    assert len(collected(scored(0.1), scored(0.2, test=moved)).results) == 1


def test_results_of_an_earlier_checkpoint_are_in_the_record_alone() -> None:
    scores = collected(scored(0.1), scored(0.05, "untrained")).at(8)
    assert accuracies(scores) == accuracies(scores, "untrained") == []
    assert scores.tree()["trained"] == {}
    assert [one["step"] for one in scores.tree()["results"]] == [4, 0]
    assert accuracies(scores.at(4)) == [0.1]
    later = scores.added(scored(0.3, step=8))
    assert accuracies(later) == [0.3]
    assert accuracies(later, "untrained") == [0.05]  # the same question, the same answer


def test_the_untrained_encoder_stands_beside_an_equal_question_only() -> None:
    other = {"test": ImageSet.of("others", ["c.png"])}
    scores = collected(scored(0.1), scored(0.05, "untrained"), scored(0.2, **other))
    assert accuracies(scores) == [0.2]
    assert accuracies(scores, "untrained") == []
    scores = scores.added(scored(0.15, "untrained", **other))
    assert accuracies(scores, "untrained") == [0.15]


def test_start_weights_stand_in_the_place_of_the_untrained_encoder(tmp_path: Path) -> None:
    scores = collected(scored(0.1), scored(0.05, "start weights"))
    assert accuracies(scores, "start weights") == [0.05]
    assert "untrained" not in scores.tree()
    assert " " not in scores.results[-1].file_name
    write_scores(RunFolder(tmp_path), scores)
    assert read_scores(RunFolder(tmp_path)) == scores


def test_every_shown_result_says_its_step_and_its_images() -> None:
    shown = collected(scored(0.1)).tree()["trained"]["knn"]
    assert shown == {"accuracy": 0.1, "step": 4, "test": "photos"}


def test_scores_are_read_as_they_were_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    odd = scored(0.2, step=8, test=ImageSet(name="caf\u00e9 \udcff"))  # a name that is no text
    scores = collected(scored(0.1, settings={"share": 0.5}), odd)
    write_scores(folder, scores)
    assert read_scores(folder) == scores


def test_scores_of_version_0_1_are_read_and_belong_to_the_checkpoint_beside_them(
    tmp_path: Path,
) -> None:
    folder = RunFolder(tmp_path)
    old = {"trained": {"knn": {"accuracy": 0.4}}, "untrained": {"knn": {"accuracy": 0.3}}}
    folder.write_scores({**old, "test": "photos"})
    found = read_scores(folder)
    assert {name: found.tree()[name] for name in old} == old
    assert found.tree()["test"] == "photos"
    assert accuracies(found.dated(4)) == [0.4]
    assert accuracies(found.dated(4), "untrained") == [0.3]
    assert accuracies(found.dated(4).dated(8)) == []
    mark_scores(folder, 8)
    assert accuracies(read_scores(folder)) == []
    assert len(read_scores(folder).results) == 2


@pytest.mark.parametrize("content", [{"results": [{}], "step": 1, "test": ""}, {"results": 3}])
def test_a_record_that_lacks_parts_is_damaged(tmp_path: Path, content: dict[str, Any]) -> None:
    folder = RunFolder(tmp_path)
    folder.write_scores(content)
    with pytest.raises(RunError, match=r"scores\.json is damaged; remove it"):
        read_scores(folder)


def test_evaluations_at_the_same_time_lose_no_result(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    found = [scored(0.1, seed=seed) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: add_result(folder, one, step=4), found))
    assert {one.seed for one in read_scores(folder).results} == set(range(24))


def test_no_checkpoint_is_lost_for_damaged_scores(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    mark_scores(folder, 4)
    assert not folder.scores.exists()
    folder.scores.write_text("{")
    mark_scores(folder, 4)
    assert folder.scores.read_text() == "{"


@pytest.mark.parametrize(
    "text", ['{"trained": {"knn": 1}}', '{"trained": [1]}', '{"results": [1], "step": "x"}']
)
def test_fields_of_other_types_are_damage(text: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.scores.write_text(text)
    with pytest.raises(RunError, match="is damaged"):
        read_scores(folder)
