"""What an upsert did with the rows that it was given."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class UpsertReport:
    """Counts of rows by what became of them; they add up to the rows given. Reports can be added.

    Parameters
    ----------
    inserted : int
        New rows.
    updated : int
        Rows that replaced one of the same key.
    unchanged : int
        Rows that equal what is stored, and were left alone (``unchanged="skip"``).
    kept : int
        Rows without any measured value, where the stored row has one (``keep_good=True``).
    rejected : int
        Rows that can't be stored, kept in ``rejected_result`` instead.
    superseded : int
        Rows that a later one of the same batch and key took the place of.
    seconds : float
        How long it took.
    reasons : Counter
        Why rows were rejected, and how many for each reason.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    kept: int = 0
    rejected: int = 0
    superseded: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """The number of rows given."""
        return self.inserted + self.updated + self.unchanged + self.kept + self.rejected + self.superseded

    def __add__(self, other: "UpsertReport") -> "UpsertReport":
        return UpsertReport(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.kept + other.kept,
            self.rejected + other.rejected,
            self.superseded + other.superseded,
            self.seconds + other.seconds,
            self.reasons + other.reasons,
        )
