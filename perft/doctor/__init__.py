"""What a machine has of what perft needs: `perft doctor` shows it.

`finding` says what one probe tells, `examination` asks all probes at the same time and waits for
none too long. A probe is a function of what it looks at; none imports torch.
"""

from perft.doctor.examination import examine
from perft.doctor.finding import Finding, State

__all__ = ["Finding", "State", "examine"]
