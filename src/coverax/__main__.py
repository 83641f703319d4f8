"""`python -m coverax`."""

from coverax.cli import main

if __name__ == "__main__":
    main()
