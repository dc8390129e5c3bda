"""Versions as text and as the integer of ``v_astra``."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astra_models.boss import BossVisitSpectrum
from astra_models.errors import FieldValueError, VersionError
from astra_models.rocket import Rocket
from astra_models.version import (
    as_v_astra,
    installed_v_astra,
    installed_version,
    version_integer_to_string,
    version_string_to_integer,
)

part = st.integers(0, 999)
first_part = st.integers(0, 2147)
suffix = st.sampled_from(["", "a1", "b2", "rc1", ".dev3", ".post1", "rc1.dev2", "+local.7"])


@pytest.mark.parametrize(
    ("version", "v_astra"),
    [
        ("0.8.1", 8_001),
        ("0.0.0", 0),
        ("0.0.1", 1),
        ("0.9.0", 9_000),
        ("1.0.0", 1_000_000),
        ("12.34.56", 12_034_056),
        ("999.999.999", 999_999_999),
        ("1000.0.10", 1_000_000_010),
        ("2147.483.647", 2_147_483_647),
        ("2147.999.999", 2_147_999_999),
    ],
)
def test_versions_are_encoded_and_decoded(version: str, v_astra: int) -> None:
    assert version_string_to_integer(version) == v_astra
    assert version_integer_to_string(v_astra) == version


def test_parts_that_are_left_out_are_zero() -> None:
    assert version_string_to_integer("0.8") == 8_000
    assert version_string_to_integer("1") == 1_000_000


@given(first_part, part, part)
def test_decoding_undoes_encoding(major: int, minor: int, patch: int) -> None:
    version = f"{major}.{minor}.{patch}"
    assert version_integer_to_string(version_string_to_integer(version)) == version


@given(st.integers(0, 2_147_999_999))
def test_encoding_undoes_decoding(v_astra: int) -> None:
    assert version_string_to_integer(version_integer_to_string(v_astra)) == v_astra


@given(st.lists(st.tuples(first_part, part, part), min_size=2, max_size=6))
def test_integers_are_ordered_as_versions_are(versions: list[tuple[int, int, int]]) -> None:
    in_order = [version_string_to_integer("{}.{}.{}".format(*version)) for version in sorted(versions)]
    assert in_order == sorted(in_order)


@pytest.mark.lesson(25)
@given(first_part, part, part, suffix)
def test_a_suffix_is_ignored(major: int, minor: int, patch: int, suffix: str) -> None:
    version = f"{major}.{minor}.{patch}"
    assert version_string_to_integer(version + suffix) == version_string_to_integer(version)


@pytest.mark.lesson(25)
@given(first_part, part, part, part)
def test_patch_releases_share_their_major_minor(major: int, minor: int, patch: int, other: int) -> None:
    one, two = (version_string_to_integer(f"{major}.{minor}.{last}") for last in (patch, other))
    assert one // 1000 == two // 1000 == major * 1000 + minor


@pytest.mark.parametrize(
    "version",
    ["", " ", "abc", "-1.0.0", "0.-8.1", "0.8.", "0..1", "0,8,1", "0.8.1 beta 2 of 3", None, 8001, b"0.8.1"],
)
def test_what_is_no_version_is_refused_with_the_value_and_an_example(version: object) -> None:
    with pytest.raises(VersionError, match=r"MAJOR\.MINOR\.PATCH") as refused:
        version_string_to_integer(version)
    assert repr(version) in str(refused.value)


@pytest.mark.parametrize("version", ["0.8.1000", "0.1000.0", "2147.999.1000"])
def test_a_part_over_999_is_refused(version: str) -> None:
    with pytest.raises(VersionError, match=f"'{version}' has a part over 999"):
        version_string_to_integer(version)


@pytest.mark.parametrize("version", ["2148.0.0", "2148.0.0rc1", "99999.1.1"])
def test_a_first_part_over_2147_is_refused(version: str) -> None:
    with pytest.raises(VersionError, match=f"'{version}' has a first part over 2147"):
        version_string_to_integer(version)


def test_the_column_has_room_for_versions_up_to_that_of_the_largest_integer(spectrum: BossVisitSpectrum) -> None:
    last = Rocket.create(spectrum_pk=spectrum.spectrum_pk, v_astra=version_string_to_integer("2147.483.647"))
    stored = Rocket.get_by_id(last.task_pk)
    assert (stored.v_astra, stored.v_astra_major_minor) == (2_147_483_647, 2_147_483)
    with pytest.raises(FieldValueError, match="v_astra: 2147483648 is beyond the range of a 32-bit integer"):
        Rocket.create(spectrum_pk=spectrum.spectrum_pk, v_astra=version_string_to_integer("2147.483.648"))


@pytest.mark.parametrize("version", ["0.8.1.2", "1!0.8.1"])
def test_more_than_three_parts_are_refused(version: str) -> None:
    with pytest.raises(VersionError, match="more than MAJOR"):
        version_string_to_integer(version)


@pytest.mark.parametrize("v_astra", [-1, 2_148_000_000, 8001.5, float("nan"), float("inf"), None, "0.8.1"])
def test_what_is_no_encoded_version_is_refused(v_astra: object) -> None:
    with pytest.raises(VersionError, match="8001"):
        version_integer_to_string(v_astra)


def test_a_version_error_is_a_value_error() -> None:
    assert issubclass(VersionError, ValueError)


def test_numpy_integers_are_decoded() -> None:
    assert version_integer_to_string(np.int32(8001)) == "0.8.1"


def test_the_environment_overrides_the_installed_version(monkeypatch: pytest.MonkeyPatch) -> None:
    own = installed_version()
    monkeypatch.setenv("ASTRA_VERSION", "0.8.7")
    assert (installed_version(), installed_v_astra()) == ("0.8.7", 8_007)
    monkeypatch.setenv("ASTRA_VERSION", "0.8.8rc1")
    assert installed_v_astra() == 8_008
    monkeypatch.delenv("ASTRA_VERSION")
    assert (installed_version(), installed_v_astra()) == (own, version_string_to_integer(own))


def test_a_wrong_version_in_the_environment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_VERSION", "latest")
    with pytest.raises(VersionError, match="'latest'"):
        installed_v_astra()


def test_a_version_is_accepted_as_text_as_integer_and_not_at_all() -> None:
    assert as_v_astra("0.8.1") == as_v_astra(8001) == as_v_astra(np.int64(8001)) == 8001
    assert as_v_astra(None) == installed_v_astra()
    with pytest.raises(VersionError):
        as_v_astra(-5)
