"""Keeps transformers from printing reports of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging


@contextmanager
def quiet(*, bars: bool = False) -> Iterator[None]:
    """Silences transformers inside; perft reports errors in one line.

    Args:
        bars: whether transformers may draw progress bars.
    """
    level, drawn = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    if not bars:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if drawn:
            logging.enable_progress_bar()
