"""The table of a search's trials and the plots of its front, as files in its folder."""

import os

from perft.base_score import BaseScore
from perft.home import home
from perft.searching.settings import SearchSettings
from perft.storage import Storage
from perft.studies import Study
from perft.studies.page import pages
from perft.trial import TrialResult


def keep_fonts_at_home() -> None:
    """Makes matplotlib keep its font cache in perft's home instead of the user's."""
    os.environ.setdefault("MPLCONFIGDIR", str(home() / "matplotlib"))


def import_drawing() -> None:
    """Imports the libraries for table and plots: two seconds, spent while Ray starts."""
    import scipy.stats  # type: ignore[import-untyped]  # noqa: F401, PLC0415

    import perft.selection.files  # noqa: F401, PLC0415


def draw(
    search: Storage,
    settings: SearchSettings,
    results: list[TrialResult],
    base: BaseScore | None,
    study: Study | None = None,
) -> list[str]:
    """Writes the table, the plots and a study's page into the search's folder.

    Returns:
        The files' names.
    """
    from perft.selection.files import result_files  # noqa: PLC0415 - plotting is slow to import

    if not any(result.outcome == "complete" for result in results):
        return []
    files = result_files(results, f"{settings.name}: {settings.task}", base)
    if study is not None:
        files |= pages(study, results, base, settings.to_json())
    for name, data in files.items():
        search.write(name, data)
    return list(files)
