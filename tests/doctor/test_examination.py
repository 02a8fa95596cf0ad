"""All probes are asked at once; one that fails or hangs is a line like the others."""

import subprocess
import sys
import threading
import time

from perft.doctor import Finding, examine
from perft.doctor.examination import PROBES
from perft.doctor.finding import ok


def test_findings_come_in_the_order_of_the_probes() -> None:
    first = threading.Event()

    def slow() -> list[Finding]:
        first.wait(10)
        return [ok("a", "here"), ok("b", "here")]

    def quick() -> list[Finding]:
        first.set()
        return [ok("c", "here")]

    assert [each.name for each in examine({"slow": slow, "quick": quick})] == ["a", "b", "c"]


def test_a_probe_that_fails_or_hangs_is_a_warning() -> None:
    def broken() -> list[Finding]:
        raise ZeroDivisionError("of http://ann:secret@host/path")

    def hangs() -> list[Finding]:
        time.sleep(600)
        return []

    found = examine({"broken": broken, "hangs": hangs, "fine": lambda: [ok("c", "1")]}, seconds=0.5)
    assert [each.state for each in found] == ["warning", "warning", "ok"]
    assert found[0].found == "cannot be looked at: ZeroDivisionError: of http://***@host/path"
    assert found[1].found == "no answer within 0 seconds"


def test_what_is_shown_is_one_line_without_secrets() -> None:
    found = Finding("x", "warning", "a\nb \x1b[31m s3://key:word@bucket", "see http://u:p@host")
    assert found.found == "a b \\x1b[31m s3://***@bucket"
    assert found.advice == "see http://***@host"


def test_the_whole_examination_imports_no_torch() -> None:
    code = (
        "import sys\nfrom perft.doctor import examine\nfound = examine()\n"
        "assert 'torch' not in sys.modules\nprint(len(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) >= len(PROBES)
