"""`python -m lbd` is the command `lbd`."""

from lbd.cli.main import main

if __name__ == "__main__":
    main()
