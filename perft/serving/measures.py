"""What a server counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from perft.serving.engine import Engine

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Measures:
    """Counters of one server.

    Args:
        engine: whose batch and queue are shown.
    """

    def __init__(self, engine: Engine) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_EngineState(engine))
        self.requests = Counter(
            "perft_serve_requests", "Requests, by model and HTTP status",
            ("model", "status"), registry=self._registry,
        )  # fmt: skip
        self.tokens = Counter(
            "perft_serve_tokens", "Tokens of prompts, and written ones",
            ("model", "kind"), registry=self._registry,
        )  # fmt: skip
        self.first_token = Histogram(
            "perft_serve_first_token_seconds", "From a request to its first token",
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self.latency = Histogram(
            "perft_serve_request_seconds", "From a request to the end of its answer",
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)


class _EngineState(Collector):
    """The engine's state at the moment of asking."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> list[Metric]:
        """The gauges."""
        found = (
            ("rows_running", "Rows in the batch", self._engine.running),
            ("rows_waiting", "Rows that wait for a place in the batch", self._engine.waiting),
            ("steps", "Forward passes since the start", self._engine.steps),
        )
        return [GaugeMetricFamily(f"perft_serve_{n}", text, value=v) for n, text, v in found]
