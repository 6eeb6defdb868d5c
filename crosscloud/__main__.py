"""`python -m crosscloud`, and the `crosscloud` command."""

from services.cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
