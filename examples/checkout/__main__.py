"""The command line: python -m examples.checkout --help"""

from examples.checkout.app import cli

if __name__ == "__main__":
    cli()
