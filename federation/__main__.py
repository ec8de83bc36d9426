"""`python -m federation` is `fed`."""

from federation import cli

if __name__ == "__main__":
    cli.main()
