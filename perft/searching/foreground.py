"""A search as a command runs it: in a process of its own, which it may replace."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from perft.errors import PerftError
from perft.invocation import arguments
from perft.searching.stages import Stages

if TYPE_CHECKING:
    from perft.searching.prepare import SearchPlan
    from perft.searching.run import Finished


def run_in_foreground(plan: "SearchPlan", stages: Stages, flags: Sequence[str]) -> "Finished":
    """Runs a search in a process that is its own: with its signals, and replaced if Ray dies.

    Args:
        plan: the search.
        stages: shows the user what it does.
        flags: options of the command that resumes it, beside name and storage.

    Raises:
        PerftError: as of `perft.searching.run.run_search`.
    """
    from perft.compat.ray import never_connect_unasked  # noqa: PLC0415 - slow
    from perft.searches import resume_command  # noqa: PLC0415 - slow
    from perft.searching.interrupt import interruptible  # noqa: PLC0415 - slow
    from perft.searching.run import run_search  # noqa: PLC0415 - slow

    name, root = plan.settings.name, plan.root
    stages.say(f"search {name} in {plan.search.shown}")
    go_on = arguments("search", "--resume", name, "--storage", root, *flags)
    never_connect_unasked()  # a thread may be late
    try:
        with stages.waiting(), interruptible(stages.say, stages.leave):
            return run_search(plan, stages, go_on)
    except PerftError:
        raise
    except Exception as error:
        error.add_note(f"resume the search by: {resume_command(name, root)}")
        raise
