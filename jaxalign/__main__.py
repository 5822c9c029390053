"""`python -m jaxalign` is the `jaxalign` command."""

from jaxalign.cli import script

if __name__ == "__main__":
    script()
