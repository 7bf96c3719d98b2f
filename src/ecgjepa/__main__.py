"""``python -m ecgjepa``."""

from ecgjepa.cli import main

if __name__ == "__main__":
    main()
