"""What is told: a few named lines, as text for people and as JSON for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from astra_models.messages import storable

__all__ = ["Alert"]

LONGEST_LINE = 600
LONGEST_SUBJECT = 150


@dataclass(frozen=True)
class Alert:
    """One message.

    Parameters
    ----------
    kind : str
        ``step_failed``, ``check_failed``, ``run_died``, ``summary``, ``test``, or a kind of `troubles.Trouble`.
    subject : str
        What happened, as one line.
    what, why, what_to_do : str
        What happened in full, the cause in one line, and the remedy. Empty ones aren't shown.
    pipelines : sequence of str
        Which pipelines are concerned.
    run_id : str, optional
        The run in Dagster.
    url : str, optional
        The address, or the path, of its page in the UI.
    table : sequence of str, optional
        Further lines.
    """

    kind: str
    subject: str
    what: str
    why: str = ""
    what_to_do: str = ""
    pipelines: Sequence[str] = ()
    run_id: str | None = None
    url: str | None = None
    table: Sequence[str] = ()

    @property
    def title(self) -> str:
        """The subject as one line that any mail program shows."""
        return storable(f"Astra: {self.subject}", LONGEST_SUBJECT)

    @property
    def text(self) -> str:
        """The message as plain text, the title first."""
        named = {
            "What": self.what,
            "Pipeline": ", ".join(self.pipelines),
            "Why": self.why,
            "Run" if self.run_id else "Page": self.url or self.run_id or "",
            "To do": self.what_to_do,
        }
        lines = [f"{f'{name}:':<10}{storable(value, LONGEST_LINE)}" for name, value in named.items() if value]
        return "\n".join([self.title, "", *lines, *([""] if self.table else []), *self.table]) + "\n"

    def as_json(self) -> Mapping[str, object]:
        """Give the message for a program; ``text`` is what chat services show."""
        return {
            "kind": self.kind,
            "subject": self.title,
            "text": self.text,
            "what": storable(self.what, LONGEST_LINE),
            "pipelines": list(self.pipelines),
            "why": storable(self.why, LONGEST_LINE),
            "run_id": self.run_id,
            "url": self.url,
            "what_to_do": storable(self.what_to_do, LONGEST_LINE),
            "sent": datetime.now(UTC).isoformat(timespec="seconds"),
        }
