"""``python -m astra_orchestration.cli``: the command line without its script."""

from astra_orchestration.cli.main import main

main()
