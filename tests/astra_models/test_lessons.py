"""Every lesson of the list can be found by its number."""

import re
from pathlib import Path

HERE = Path(__file__).parent
LIST = HERE.parents[1] / "docs" / "lessons.md"


def listed() -> dict[int, list[str]]:
    rows = re.findall(r"^\| (\d+) \| .* \| (.*) \|$", LIST.read_text(), re.MULTILINE)
    return {int(number): re.findall(r"`(test_\w+\.py)`", files) for number, files in rows}


def marked(file: Path) -> set[int]:
    return {int(number) for number in re.findall(r"@pytest\.mark\.lesson\((\d+)\)", file.read_text())}


def test_every_listed_lesson_has_a_test_where_the_list_says() -> None:
    for number, files in listed().items():
        assert files, number
        for name in files:
            assert number in marked(HERE / name), f"{name} has no test of lesson {number}"


def test_every_marked_lesson_is_listed() -> None:
    numbers = {number for file in HERE.parent.rglob("test_*.py") for number in marked(file)}
    assert numbers == set(listed())
