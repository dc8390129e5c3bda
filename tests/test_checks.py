"""The checks of `make lint` that are our own find what they are for."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def check_complexity(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "checks" / "complexity.py"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def function(n_branches: int) -> str:
    return "def branching(x):\n" + "".join(f"    if x == {i}:\n        return {i}\n" for i in range(n_branches))


def test_a_function_above_the_limit_is_named(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(function(14))
    assert check_complexity(tmp_path).returncode == 0

    (tmp_path / "plain.py").write_text(function(15))
    (tmp_path / "method.py").write_text("class A:\n" + "".join(f"    {line}\n" for line in function(15).splitlines()))
    checked = check_complexity(tmp_path)
    assert checked.returncode == 1
    assert checked.stdout.splitlines() == [
        f"{tmp_path}/method.py:2 A.branching 16",
        f"{tmp_path}/plain.py:1 branching 16",
    ]
