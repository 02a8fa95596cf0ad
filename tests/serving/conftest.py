"""One service on the built-in base in fp64, for all tests of the HTTP interface."""

from collections.abc import Iterator

import pytest
import torch
from fastapi.testclient import TestClient
from serving_hosts import ADAPTERS, LOOPBACK

from contracts.adapters import SIX
from perft.injection import AdapterHost
from perft.models.load import Base, load_base
from perft.serving.app import Service, make_app
from perft.serving.limits import Limits
from perft.serving.models import Served


@pytest.fixture(scope="session")
def base() -> Base:
    return load_base(dtype="float64")


@pytest.fixture(scope="session")
def served(base: Base) -> Served:
    host = AdapterHost(base.model)
    for seed, name in enumerate(ADAPTERS):
        host.add(name, SIX[name], seed=seed)
        generator = torch.Generator().manual_seed(seed)
        for tensor in host.tensors(name).values():
            tensor.data.add_(0.02 * torch.randn(tensor.shape, generator=generator))
    adapters = {"built-in": None, **{name: name for name in ADAPTERS}}
    return Served(base, host, adapters, Limits(max_batch=5, max_new_tokens=40))


@pytest.fixture
def client(served: Served) -> Iterator[TestClient]:
    with TestClient(make_app(Service(served)), base_url=LOOPBACK) as found:
        yield found
