"""`perft search` as a program that needs no installed perft: `python jobs/search.py`."""

import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":  # until a search runs there is nothing to keep
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(130))

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for a tree that is not installed

from perft.cli import run
from perft.commands.search import main

if __name__ == "__main__":
    run(main)
