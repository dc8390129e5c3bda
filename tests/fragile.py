"""Pipelines that other processes can import, and that do to their process what a spectrum's `mjd` says."""

import ctypes
import functools
import os
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from astra_models import task
from astra_models.boss import BossVisitSpectrum
from astra_models.rocket import Rocket

WELL, RAISES, SEGFAULTS, EXITS, HANGS, HOLDS_GIL, EATS_MEMORY, SAYS_NOTHING, SLOW = range(60_000, 60_009)


def suffer(mjd: int) -> None:
    """Do to this process what is asked for."""
    if mjd == RAISES:
        raise ValueError("a bad one")
    if mjd == SEGFAULTS:
        ctypes.string_at(0)
    if mjd == EXITS:
        os._exit(7)
    if mjd == HANGS:
        time.sleep(1000)
    if mjd == HOLDS_GIL:
        ctypes.PyDLL(None).sleep(1000)
    if mjd == EATS_MEMORY:
        np.ones(10**10)
    if mjd == SLOW:
        time.sleep(0.2)


@task
def fragile(spectra: Iterable[BossVisitSpectrum], teff: float = 5_000.0) -> Iterable[Rocket]:
    """Give the same temperature for each spectrum, unless it does something else."""
    for spectrum in spectra:
        suffer(spectrum.mjd)
        if spectrum.mjd != SAYS_NOTHING:
            yield Rocket.from_spectrum(spectrum, teff=teff, tag=str(os.getpid()))


@task
def several_at_once(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Take five spectra before answering any."""
    for some in _by_five(spectra):
        for spectrum in some:
            suffer(spectrum.mjd)
        yield from (Rocket.from_spectrum(spectrum, teff=5_000) for spectrum in some)


@task
def sets_up(spectra: Iterable[BossVisitSpectrum], log: str = "") -> Iterable[Rocket]:
    """Write a line into a file each time that it is set up."""
    with Path(log).open("a") as file:
        file.write(f"{os.getpid()}\n")
    yield ...
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=5_000)


@task
def tells(spectra: Iterable[BossVisitSpectrum], variable: str = "") -> Iterable[Rocket]:
    """Give what an environment variable says here."""
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=5_000, tag=os.environ.get(variable, "unset"))


@functools.cache
def model_of(log: str) -> float:
    """Load something for long, and write a line into a file."""
    with Path(log).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return 5_000.0


@task
def several_with_a_model(spectra: Iterable[BossVisitSpectrum], log: str = "") -> Iterable[Rocket]:
    """Take five spectra before answering any, with a model that is loaded once in a process."""
    teff = model_of(log)
    for some in _by_five(spectra):
        yield from (Rocket.from_spectrum(spectrum, teff=teff, tag=str(os.getpid())) for spectrum in some)


@task
def sets_up_for_long(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Take half a second before the first spectrum, and say so."""
    time.sleep(0.5)
    yield ...
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=5_000)


@task
def sets_up_for_long_in_silence(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Take half a second before the first spectrum."""
    time.sleep(0.5)
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=5_000)


@task
def naps(spectra: Iterable[BossVisitSpectrum], seconds: float = 0.05) -> Iterable[Rocket]:
    """Sleep over each spectrum, and as long as the file that `ASTRA_TEST_ASLEEP` names is there."""
    for spectrum in spectra:
        time.sleep(seconds)
        while os.path.exists(os.environ.get("ASTRA_TEST_ASLEEP", "")):
            time.sleep(0.1)
        yield Rocket.from_spectrum(spectrum, teff=5_000)


@task
def nothing(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Give an empty result at once."""
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=5_000)


@task
def leaves_a_thread(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Start a thread that goes on when all is done."""
    threading.Thread(target=time.sleep, args=(1000,)).start()
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=5_000)


@task
def leaves_a_process(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Fork a process that keeps what it inherits open, and end at the third spectrum."""
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    for spectrum in spectra:
        suffer(spectrum.mjd)
        yield Rocket.from_spectrum(spectrum, teff=5_000)


@task
def brightness(spectra: Iterable[BossVisitSpectrum]) -> Iterable[Rocket]:
    """Give the median of the flux for a temperature."""
    for spectrum in spectra:
        yield Rocket.from_spectrum(spectrum, teff=float(np.median(spectrum.flux)))


def _by_five(spectra: Iterable[BossVisitSpectrum]) -> Iterator[list[BossVisitSpectrum]]:
    some: list[BossVisitSpectrum] = []
    for spectrum in spectra:
        some.append(spectrum)
        if len(some) == 5:
            yield some
            some = []
    if some:
        yield some
