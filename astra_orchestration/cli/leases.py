"""``astra leases``: which run has which spectra in hand, and freeing them."""

from typing import TYPE_CHECKING, Annotated

import typer

from astra_orchestration.cli.answers import give, into_file
from astra_orchestration.cli.exit_codes import end_with
from astra_orchestration.cli.terminal import (
    AsJson,
    AstraGroup,
    IntoFile,
    connect_to_configured,
    console,
    escaped,
    named_as_pipeline,
    say,
    table,
)

if TYPE_CHECKING:
    from astra_models.lease import Lease

leases_commands = typer.Typer(cls=AstraGroup)


@leases_commands.command(epilog="Example: [bold]astra leases --release 5f1c[/]")
def leases(
    release: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Free what a run has in hand: its id or its holder's, or how one begins."),
    ] = None,
    as_json: AsJson = False,
    into: IntoFile = None,
) -> None:
    """Show which run has which spectra in hand. A run renews its leases; without it they expire in a minute."""
    from astra_models.analysis.leases import now
    from astra_models.base import database
    from astra_models.database.retry import run_transaction
    from astra_models.lease import Lease

    into_file(into)
    connect_to_configured(Lease)
    if release is not None:
        which = Lease.holder.startswith(release) | Lease.run_id.startswith(release)
        freed = run_transaction(database, Lease.delete().where(which).execute)
        give({"freed": freed, "leases": []})
        say(f"{freed} leases freed" if freed else f"no run that begins with {escaped(release)} has anything in hand")
        end_with(landed=freed, refused=0 if freed else 1)
        return
    held = run_transaction(database, lambda: list(Lease.select().order_by(Lease.model, Lease.first_key)))
    if as_json:
        give({"freed": 0, "leases": [{"pipeline": named_as_pipeline(lease.model)} | lease.to_dict() for lease in held]})
        return
    if not held:
        say("no run has anything in hand")
        return
    moment = run_transaction(database, now)
    columns = ["results of", "version", "spectrum_pk", "holder", "run", "host", "process", "taken (UTC)", "expires"]
    console.print(table(columns, (_row(lease, moment) for lease in held)))


def _row(lease: "Lease", moment: int) -> list[str]:
    listed = lease.listed()
    left = (lease.expires - moment) / 1000
    return [
        escaped(named_as_pipeline(lease.model)),
        f"{lease.v_astra_major_minor // 1000}.{lease.v_astra_major_minor % 1000}",
        f"{lease.first_key} to {lease.last_key}" + ("" if listed is None else f" ({len(listed)})"),
        lease.holder[:8],
        (lease.run_id or "")[:8],
        lease.host,
        lease.process.partition(" ")[0],
        f"{lease.taken:%Y-%m-%d %H:%M:%S}",
        f"in {left:.0f} s" if left > 0 else "expired",
    ]
