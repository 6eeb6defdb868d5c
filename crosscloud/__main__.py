"""`python -m crosscloud`, and the `crosscloud` command."""

from services.cli.start import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
