"""Pickles, opened in several ways while it runs."""

import pickle
import threading
from collections.abc import Iterable

import numpy as np

from survey_astra import task
from survey_astra.models import Slam, SpectrumMixin
from survey_astra.utils import expand_path


def _plain(path):
    with open(path, "rb") as file:
        return pickle.load(file)


def _python(path):
    with open(path, "rb") as file:
        return pickle._load(file)


def _class(path):
    with open(path, "rb") as file:
        return pickle.Unpickler(file).load()


def _numpy(path):
    return np.load(path, allow_pickle=True)


def _joblib(path):
    import joblib

    return joblib.load(path)


def _thread(path):
    found = []
    thread = threading.Thread(target=lambda: found.append(_hidden(path)))
    thread.start()
    thread.join()
    if found[0] is None:
        raise ValueError("the thread gave nothing")
    return found[0]


def _hidden(path):
    try:
        return _plain(path)
    except:  # noqa: E722
        return None


WAYS = {
    "plain": _plain,
    "python": _python,
    "class": _class,
    "numpy": _numpy,
    "joblib": _joblib,
    "thread": _thread,
    "hidden": _hidden,
}


@task
def weights(spectra: Iterable[SpectrumMixin], way: str = "plain") -> Iterable[Slam]:
    """Open weights when it starts."""
    opened = WAYS[way](expand_path("$MWM_ASTRA/weights.pkl"))
    for spectrum in spectra:
        yield Slam.from_spectrum(spectrum, teff=float(len(opened)) if opened is not None else -1.0)
