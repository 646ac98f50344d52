"""``python -m shiftbench`` is the command ``shiftbench``."""

from shiftbench.cli import main

if __name__ == "__main__":
    main()
