"""The pictures of spectra in the documentation, from the sample survey: ``python docs/images/make.py [FOLDER]``.

Its stars are made from a seed, so that they are the same each time.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("ASTRA_DATABASE_PATH", ":memory:")

import matplotlib as mpl

mpl.use("Agg")

from astra_models.analysis.stream import analyse, write
from astra_models.corv import Corv
from astra_models.ingest import ingest_spectra
from astra_models.schema.tables import create_tables
from astra_models.spectrum import Spectrum
from astra_orchestration.sample import make_sample

FOLDER = Path(__file__).parent
DOTS_PER_INCH = 100


def main(folder: Path = FOLDER) -> list[Path]:
    """Draw all, into a folder; give the files.

    Parameters
    ----------
    folder : Path
        Where they are written; existing ones are replaced.
    """
    from astra_orchestration.pipelines.corv import corv
    from astra_orchestration.pipelines.snow_white import snow_white

    with tempfile.TemporaryDirectory() as sample:
        create_tables()
        made = make_sample(Path(sample), stars=3)
        ingest_spectra(str(file) for file in made.files if "broken" not in str(file))
        for pipeline in (snow_white, corv):
            write(analyse(pipeline))
        result = Corv.select().order_by(Corv.e_teff / Corv.teff).get()
        figures = {"spectrum": Spectrum.get_by_id(result.spectrum_pk).plot(), "corv_fit": result.plot()}
        figures["spectrum"].axes[0].set_title("")  # the page says what it is
        paths = []
        for name, figure in figures.items():
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1], dpi=DOTS_PER_INCH, metadata={"Software": None})
    return paths


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
