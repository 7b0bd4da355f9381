"""DINO's objective against a double loop over views, rows and prototypes, and its limits."""

import math

import pytest
import torch
from torch import Tensor

from sparring.objectives.self_distillation import (
    entropy,
    information,
    self_distillation,
    sharpened,
)

STUDENT, TEACHER = 0.1, 0.04
ROWS, PROTOTYPES = 5, 7


def scores(*shape: int, seed: int) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(*shape, dtype=torch.float64, generator=draws) - 1


def student(num_views: int) -> list[Tensor]:
    return list(scores(num_views, ROWS, PROTOTYPES, seed=1))


def targets(num_views: int = 2) -> list[Tensor]:
    centre = scores(PROTOTYPES, seed=2)
    return list(sharpened(scores(num_views, ROWS, PROTOTYPES, seed=3), centre, temperature=TEACHER))


def slow_softmax(row: list[float]) -> list[float]:
    parts = [math.exp(value - max(row)) for value in row]
    return [part / math.fsum(parts) for part in parts]


def slow_loss(of_student: list[Tensor], of_teacher: list[Tensor], centre: Tensor) -> float:
    """Written from the paper's equations, one number after the other."""
    pairs = []
    for t, teacher_rows in enumerate(of_teacher):
        for s, student_rows in enumerate(of_student):
            if s == t:
                continue
            terms = []
            for row, other in zip(teacher_rows.tolist(), student_rows.tolist(), strict=True):
                wanted = slow_softmax(
                    [(x - c) / TEACHER for x, c in zip(row, centre.tolist(), strict=True)]
                )
                given = slow_softmax([x / STUDENT for x in other])
                terms.append(
                    -math.fsum(p * math.log(q) for p, q in zip(wanted, given, strict=True))
                )
            pairs.append(math.fsum(terms) / len(terms))
    return math.fsum(pairs) / len(pairs)


@pytest.mark.parametrize(("num_large", "num_views"), [(2, 2), (2, 3), (2, 6), (1, 4), (3, 5)])
def test_the_loss_equals_a_slow_loop_over_all_pairs(num_large: int, num_views: int) -> None:
    teacher, centre = list(scores(num_large, ROWS, PROTOTYPES, seed=3)), scores(PROTOTYPES, seed=2)
    found = self_distillation(
        student(num_views),
        [sharpened(rows, centre, temperature=TEACHER) for rows in teacher],
        temperature=STUDENT,
    )
    assert float(found) == pytest.approx(slow_loss(student(num_views), teacher, centre), rel=1e-12)


def test_no_view_is_compared_with_itself() -> None:
    of_student, of_teacher = student(2), targets()
    plain = self_distillation(of_student, of_teacher, temperature=STUDENT)
    crossed = self_distillation(of_student[::-1], of_teacher, temperature=STUDENT)
    assert not torch.isclose(plain, crossed, rtol=1e-6)
    both_ways = self_distillation(of_student[::-1], of_teacher[::-1], temperature=STUDENT)
    torch.testing.assert_close(plain, both_ways, rtol=1e-12, atol=0)


def test_gradients_of_all_views_agree_with_finite_differences() -> None:
    of_teacher = targets()
    views = [view.requires_grad_() for view in student(4)]
    assert torch.autograd.gradcheck(
        lambda *rows: self_distillation(rows, of_teacher, temperature=STUDENT), views
    )


def test_the_gradient_is_the_difference_of_the_distributions() -> None:
    # d/dS of the cross-entropy is (softmax(S / t) - P) / t, a mean over rows and, here, two pairs.
    views, of_teacher = [view.requires_grad_() for view in student(2)], targets()
    loss = self_distillation(views, of_teacher, temperature=STUDENT)
    (gradient,) = torch.autograd.grad(loss, views[:1])
    own = torch.softmax(views[0].detach() / STUDENT, dim=1)
    expected = (own - of_teacher[1]) / STUDENT / ROWS / 2
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-14)


def test_a_student_like_the_teacher_pays_the_teachers_entropy() -> None:
    of_teacher = targets(1)[0]
    same = STUDENT * of_teacher.log()
    loss = self_distillation([same, same], [of_teacher, of_teacher], temperature=STUDENT)
    torch.testing.assert_close(loss, entropy(of_teacher).mean(), rtol=1e-12, atol=0)
    other = self_distillation(student(2), [of_teacher, of_teacher], temperature=STUDENT)
    assert other > loss


def test_the_mean_over_halves_of_a_batch_is_that_of_the_whole() -> None:
    # So that processes, whose losses are averaged, have the loss of the joint batch.
    views, of_teacher = list(scores(3, 8, PROTOTYPES, seed=4)), list(scores(2, 8, 7, seed=5).exp())
    whole = self_distillation(views, of_teacher, temperature=STUDENT)
    halves = [
        self_distillation(
            [view[rows] for view in views], [p[rows] for p in of_teacher], temperature=STUDENT
        )
        for rows in (slice(0, 4), slice(4, 8))
    ]
    torch.testing.assert_close(sum(halves) / 2, whole, rtol=1e-12, atol=0)


def test_what_is_common_to_all_images_is_removed_by_the_centre() -> None:
    rows, common = scores(ROWS, PROTOTYPES, seed=6), scores(PROTOTYPES, seed=7)
    zero = torch.zeros(PROTOTYPES, dtype=torch.float64)
    torch.testing.assert_close(
        sharpened(rows + common, common, temperature=TEACHER),
        sharpened(rows, zero, temperature=TEACHER),
        rtol=1e-10,
        atol=1e-14,
    )


def test_a_low_temperature_chooses_and_a_high_one_does_not() -> None:
    rows, zero = scores(ROWS, PROTOTYPES, seed=6), torch.zeros(PROTOTYPES, dtype=torch.float64)
    chosen = sharpened(rows, zero, temperature=1e-4)
    assert torch.equal(chosen.argmax(dim=1), rows.argmax(dim=1))
    assert float(chosen.max(dim=1).values.min()) > 0.999
    alike = sharpened(rows, zero, temperature=1e4)
    torch.testing.assert_close(alike, torch.full_like(alike, 1 / PROTOTYPES), rtol=1e-3, atol=0)


def test_information_is_none_for_equal_rows_and_all_for_separate_ones() -> None:
    uniform = torch.full((4, 4), 0.25, dtype=torch.float64)
    one = torch.zeros(4, 4, dtype=torch.float64)
    one[:, 2] = 1
    for same in (uniform, one):
        assert float(information(same)) == pytest.approx(0, abs=1e-12)
    assert float(information(torch.eye(4, dtype=torch.float64))) == pytest.approx(math.log(4))
    assert entropy(uniform).tolist() == pytest.approx([math.log(4)] * 4)
