"""The command line `trimtab`: the composition root. A command imports what it needs inside its function."""

from service.cli.app import main

__all__ = ["main"]
