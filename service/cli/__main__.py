"""`python -m service.cli`: how the supervisor starts its parts, whatever is on PATH."""

from service.cli.app import main

main()
