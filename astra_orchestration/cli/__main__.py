"""``python -m astra_orchestration.cli``: the command line without its script."""

from astra_orchestration.cli.start import main

main()
