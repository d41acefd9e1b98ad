"""`python -m postroad` is the `postroad` command."""

from postroad.cli import main

if __name__ == "__main__":
    main()
