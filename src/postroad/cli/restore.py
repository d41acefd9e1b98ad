"""`postroad restore`: it stands beside `postroad backup`."""

from postroad.cli.backup import restore_command as command

__all__ = ["command"]
