"""`python -m crosscloud`, and the `crosscloud` command."""

from crosscloud.shadows import refuse_shadows

__all__ = ["main"]


def main() -> None:
    """Run the command in `sys.argv`; never returns normally."""
    refuse_shadows()
    from commands.start import main as run

    run()


if __name__ == "__main__":
    main()
