"""What is measured of a full-length trial beside its loss and its accuracy."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FurtherMeasures:
    """Further metrics of a trial's last report.

    Attributes:
        other_texts: texts of which it is measured what the trial forgets; sources as of
            `perft.tasks.other_text`.
        routers: whether the trial's own router is measured (`perft.training.router_measures`).
    """

    other_texts: tuple[str, ...] = ()
    routers: bool = False


NOTHING_FURTHER = FurtherMeasures()
