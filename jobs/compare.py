"""`perft compare` as a program that needs no installed perft: `python jobs/compare.py`."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for a tree that is not installed

from perft.cli import run
from perft.commands.compare import main

if __name__ == "__main__":
    run(main)
