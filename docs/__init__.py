"""The documentation. `python -m docs.generate` writes what the code itself knows."""
