"""Names of a step's parts: in a trace while a profiler runs, and otherwise nothing."""

from torch.profiler import ProfilerActivity, profile

from sparring.step_parts import PREFIX, named_parts, step_part


class Counter:
    """Something with a name and a function that is a part of a step."""

    name = "bank"

    @step_part("update of {0.name}")
    def add(self, number: int, *, twice: bool = False) -> int:
        """The number, or twice the number."""
        return number * (1 + twice)


def names_of_a_trace() -> list[str]:
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as recorded:
        assert Counter().add(3, twice=True) == 6
    return [event.name for event in recorded.events()]


def test_a_part_has_its_name_in_a_trace_of_named_parts_only() -> None:
    assert names_of_a_trace() == []
    with named_parts():
        assert names_of_a_trace() == [f"{PREFIX}update of bank"]
    assert names_of_a_trace() == []


def test_a_part_keeps_its_name_and_docstring() -> None:
    assert Counter.add.__name__ == "add"
    assert Counter.add.__doc__ == "The number, or twice the number."
