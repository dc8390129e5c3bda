"""A machine of an author: Astra is installed from its wheel, and nothing of the checkout is in reach."""

import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS = ("astra_models", "astra_orchestration", "__editable__", "_astra", "pip", "README", "tests")
SHIMS = ("pytest", "dagster")


class Machine:
    """A folder with an environment of its own, which has everything that Astra needs, and packages to install.

    Parameters
    ----------
    folder : Path
        Where it is made.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.home = folder / "home"
        self.venv = folder / "venv"
        self.wheels = folder / "wheels"
        self.home.mkdir(parents=True)
        self._build_wheel()
        self._make_environment()

    def run(self, script: str, cwd: Path | None = None, **variables: str) -> str:
        """Run lines of a shell, with further variables, up to the first that fails; give what they print."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=cwd or self.home,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """The variables of its shell."""
        return {
            "HOME": str(self.home),
            "PATH": f"{self.venv / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "COLUMNS": "120",
            "MPLBACKEND": "Agg",
            "DAGSTER_DISABLE_TELEMETRY": "1",
            # pip installs from the folder of wheels; what builds packages is there already
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_NO_BUILD_ISOLATION": "0",  # pip's own way to say so
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def _build_wheel(self) -> None:
        build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(self.wheels)]
        subprocess.run([sys.executable, "-m", "pip", *build, str(ROOT)], check=True, timeout=300, cwd=self.folder)

    def _make_environment(self) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(self.venv)], check=True, timeout=300)
        dependencies = self.folder / "dependencies"
        dependencies.mkdir()
        for place in {Path(str(found.locate_file(""))) for found in distributions()}:
            for entry in place.iterdir() if place != ROOT else ():
                link = dependencies / entry.name
                if not entry.name.startswith(OURS) and entry.suffix != ".pth" and not link.exists():
                    link.symlink_to(entry)
        [packages] = self.venv.glob("lib/python*/site-packages")
        (packages / "dependencies.pth").write_text(f"{dependencies}\n")
        for name in SHIMS:  # whose scripts are in the other environment
            shim = self.venv / "bin" / name
            shim.write_text(f'#!/bin/sh\nexec "{self.venv}/bin/python" -m {name} "$@"\n')
            shim.chmod(0o755)
