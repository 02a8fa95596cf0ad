"""OpenAI's interface over HTTP: what is served is what the adapters write, and what is refused."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from fastapi.testclient import TestClient
from serving_hosts import ADAPTERS, LOOPBACK, QUESTIONS

from perft.evaluation import Opening, generate
from perft.ranks import Ranks
from perft.serving.app import Service, make_app
from perft.serving.limits import MAX_BODY, Limits
from perft.serving.models import Served

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
MODELS = ("built-in", *ADAPTERS)


def ask(client: TestClient, path: str = COMPLETIONS, **body: object):
    return client.post(path, json={"model": "built-in", "prompt": QUESTIONS[0], **body})


def texts(client: TestClient, **body: object) -> list[str]:
    found = ask(client, **body)
    assert found.status_code == 200, found.text
    return [choice["text"] for choice in found.json()["choices"]]


def events(client: TestClient, path: str = COMPLETIONS, **body: object) -> Iterator[dict]:
    with client.stream("POST", path, json={"model": "built-in", **body, "stream": True}) as found:
        assert found.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in found.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    for line in lines[:-1]:
        yield json.loads(line.removeprefix("data: "))


def generated(served: Served, model: str, prompt: str, new: int) -> str:
    """What perft's evaluation writes."""
    tokenizer, name = served.base.tokenizer, served.adapters[model]
    ids = np.array(served.prompt_ids(prompt), dtype=np.int32)
    eos = tokenizer.eos_token_id
    (found,) = generate(
        served.host, {name: [Opening(ids, new)]},
        pad=tokenizer.pad_token_id, eos=eos, ranks=Ranks(),
    )[name]  # fmt: skip
    return tokenizer.decode(found, skip_special_tokens=True)


def test_what_is_served_is_what_evaluation_generates(client: TestClient, served: Served) -> None:
    asked = [(model, question) for question in QUESTIONS for model in MODELS]
    new = [3 + i % 8 for i in range(len(asked))]

    def one(number: int) -> str:
        model, question = asked[number]
        (text,) = texts(client, model=model, prompt=question, max_tokens=new[number], temperature=0)
        return text

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(one, range(len(asked))))
    expected = [generated(served, *asked[i], new[i]) for i in range(len(asked))]
    assert found == expected
    assert len(set(found)) > len(found) // 2, "adapters and questions differ, or it shows little"


def test_a_streamed_answer_is_the_whole_one_in_pieces(client: TestClient) -> None:
    body = {"prompt": list(QUESTIONS[:3]), "max_tokens": 12, "seed": 5, "temperature": 0.9}
    whole = ask(client, **body).json()
    *pieces, last = events(client, **body, stream_options={"include_usage": True})
    joined = ["", "", ""]
    ends = [None, None, None]
    for piece in pieces:
        (choice,) = piece["choices"]
        assert ends[choice["index"]] is None, "nothing follows the end"
        joined[choice["index"]] += choice["text"]
        ends[choice["index"]] = choice["finish_reason"]
    assert joined == [choice["text"] for choice in whole["choices"]]
    assert ends == [choice["finish_reason"] for choice in whole["choices"]]
    assert len(pieces) > 10
    assert last["choices"] == []
    assert last["usage"] == whole["usage"]


def test_usage_counts_tokens(client: TestClient, served: Served) -> None:
    some = list(QUESTIONS[:2])
    found = ask(client, prompt=some, max_tokens=3, temperature=0).json()
    prompt = sum(len(served.prompt_ids(question)) for question in some)
    assert {c["finish_reason"] for c in found["choices"]} == {"length"}
    assert found["usage"] == {
        "prompt_tokens": prompt,
        "completion_tokens": 6,
        "total_tokens": prompt + 6,
    }


def test_a_seed_repeats_an_answer_and_prompts_of_one_request_differ(client: TestClient) -> None:
    body = {"prompt": [QUESTIONS[0]] * 4, "max_tokens": 8, "temperature": 2, "seed": 11}
    first = texts(client, **body)
    assert first == texts(client, **body)
    assert len(set(first)) > 2
    assert first[:1] == texts(client, **body | {"prompt": QUESTIONS[0]})
    assert first != texts(client, **body | {"seed": 12})
    nucleus = texts(client, **body | {"top_p": 0.0})
    assert nucleus == texts(client, **body | {"temperature": 0})


def test_a_stop_text_ends_the_answer_before_it(client: TestClient) -> None:
    (whole,) = texts(client, max_tokens=16, temperature=0)
    stop = whole[10:14]
    for body in ({"stop": stop}, {"stop": ["never there", stop]}):
        found = ask(client, max_tokens=16, temperature=0, **body).json()
        assert found["choices"][0]["text"] == whole[: whole.index(stop)]
        assert found["choices"][0]["finish_reason"] == "stop"
        assert found["usage"]["completion_tokens"] < 16
        pieces = list(events(client, prompt=QUESTIONS[0], max_tokens=16, temperature=0, **body))
        streamed = "".join(piece["choices"][0]["text"] for piece in pieces)
        assert streamed == whole[: whole.index(stop)]


def test_models_health_and_metrics(client: TestClient) -> None:
    found = client.get("/v1/models").json()["data"]
    assert [model["id"] for model in found] == list(MODELS)
    assert [model["parent"] for model in found] == [None, *["built-in"] * 3]
    assert client.get("/v1/models/perft-e").json() == found[2]
    assert client.get("/health").json() == {"status": "ok"}
    texts(client, model="perft-r", max_tokens=4, temperature=0)
    ask(client, n=2)
    shown = client.get("/metrics")
    assert shown.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in (
        'perft_serve_requests_total{model="perft-r",status="200"} 1.0',
        'perft_serve_tokens_total{kind="written",model="perft-r"} 4.0',
        "perft_serve_request_seconds_count 1.0",
        "perft_serve_rows_running 0.0",
        "perft_serve_steps 4.0",
    ):
        assert line in shown.text


@pytest.mark.parametrize(
    ("body", "status", "param", "words"),
    [
        ({"model": "perft-x"}, 404, "model", "unknown model 'perft-x'; did you mean 'perft-r'"),
        ({"model": None}, 400, "model", "model: Input should be a valid string"),
        ({"echo": True}, 400, "echo", "does not support 'echo'; leave it out"),
        ({"n": 2}, 400, "n", "does not support 'n'"),
        ({"logprobs": 3}, 400, "logprobs", "does not support 'logprobs'"),
        ({"temprature": 0}, 400, "temprature", "knows no 'temprature'"),
        ({"temperature": 2.5}, 400, "temperature", "less than or equal to 2"),
        ({"prompt": ""}, 400, "prompt", "the prompt is empty"),
        ({"prompt": []}, 400, "prompt", "at least 1"),
        ({"prompt": ["a"] * 65}, 400, "prompt", "at most 64"),
        ({"prompt": [[1, 2]]}, 400, "prompt", "string"),
        ({"max_tokens": 41}, 400, "max_tokens", "is 41, and this server writes at most 40"),
        ({"max_tokens": 0}, 400, "max_tokens", "greater than or equal to 1"),
        ({"stop": list("abcde")}, 400, "stop", "at most 4"),
        ({"stop": ""}, 400, "stop", "at least 1"),
        (
            {"prompt": "Sam " * 1010, "max_tokens": 20},
            400, "prompt", "the base takes 1024 in all",
        ),
    ],
)  # fmt: skip
def test_what_is_refused_is_refused_by_name(
    client: TestClient, body: dict, status: int, param: str, words: str
) -> None:
    found = ask(client, **body)
    error = found.json()["error"]
    assert (found.status_code, error["param"]) == (status, param)
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"


def test_values_that_change_nothing_are_taken(client: TestClient) -> None:
    neutral = {"n": 1, "echo": False, "logprobs": None, "presence_penalty": 0.0, "user": "me",
               "logit_bias": {}, "best_of": 1, "suffix": None, "stream": False}  # fmt: skip
    assert ask(client, **neutral, temperature=0).status_code == 200


def test_what_is_no_request_is_refused(client: TestClient) -> None:
    for content, status, words in (
        (b"{", 400, "the body is no JSON"),
        (b"[]", 400, "valid dictionary"),
        (b"x" * (MAX_BODY + 1), 413, "more than 1,048,576 bytes"),
    ):
        found = client.post(
            COMPLETIONS, content=content, headers={"content-type": "application/json"}
        )
        assert (found.status_code, words in found.json()["error"]["message"]) == (status, True)
    assert client.get("/v2").json()["error"]["message"] == "Not Found"
    assert client.get(COMPLETIONS).status_code == 405

    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * (MAX_BODY // 20)

    assert client.post(COMPLETIONS, content=endless()).status_code == 413


def test_a_base_may_end_its_texts_with_several_tokens(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    eos = served.base.tokenizer.eos_token_id
    assert served.ends == {eos}
    monkeypatch.setattr(served.base.model.generation_config, "eos_token_id", [eos, 7])
    assert served.ends == {eos, 7}
    monkeypatch.setattr(served.base.model.generation_config, "eos_token_id", None)
    assert served.ends == {eos}


def test_chat_needs_a_template(client: TestClient, served: Served) -> None:
    body = {"model": "perft-r", "messages": [{"role": "user", "content": "Tom"}]}
    found = client.post(CHAT, json=body)
    assert found.status_code == 400
    assert found.json()["error"]["code"] == "no_chat_template"


TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "{{ m.role }}: {{ m.content }} {% endfor %}{% if add_generation_prompt %}Sam{% endif %}"
)


@pytest.fixture
def with_template(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.base.tokenizer, "chat_template", TEMPLATE)


def test_a_chat_is_the_completion_of_its_template(client: TestClient, with_template: None) -> None:
    parts = [{"type": "text", "text": "Tom "}, {"type": "text", "text": "runs."}]
    messages = [{"role": "user", "content": "Ann"}, {"role": "user", "content": parts}]
    body = {"model": "perft-e", "messages": messages, "temperature": 0}
    whole = client.post(CHAT, json=body | {"max_completion_tokens": 12}).json()
    (expected,) = texts(
        client, model="perft-e", prompt="user: Ann user: Tom runs. Sam", max_tokens=12,
        temperature=0,
    )  # fmt: skip
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": expected}
    first, *pieces = events(client, CHAT, **body, max_tokens=12)
    assert first["choices"][0]["delta"]["role"] == "assistant"
    streamed = "".join(p["choices"][0]["delta"].get("content", "") for p in pieces)
    assert streamed == expected
    refused = client.post(CHAT, json=body | {"messages": [{"role": "tool", "content": "x"}]})
    assert refused.status_code == 400
    assert "no tools" in refused.json()["error"]["message"]


def test_a_token_is_asked_for_everywhere_but_for_health(served: Served) -> None:
    token = "a-token-of-some-length"
    with TestClient(make_app(Service(served), token), base_url="http://far.example") as client:
        assert client.get("/health").status_code == 200
        for headers in ({}, {"Authorization": token}, {"Authorization": "Bearer wrong"}):
            for path in ("/v1/models", "/metrics", "/docs"):
                found = client.get(path, headers=headers)
                assert found.status_code == 401
                assert found.json()["error"]["code"] == "invalid_api_key"
                assert token not in found.text
        assert ask(client).status_code == 401
        client.headers["Authorization"] = f"Bearer {token}"
        assert client.get("/v1/models").status_code == 200


def test_without_a_token_only_loopback_is_answered(client: TestClient) -> None:
    for host in ("127.0.0.1:8000", "localhost", "[::1]:8000", "127.0.0.9"):
        assert client.get("/v1/models", headers={"Host": host}).status_code == 200, host
    for host in ("evil.example", "localhost.evil.example:8000", "10.0.0.1", ""):
        assert client.get("/v1/models", headers={"Host": host}).status_code == 403, host


def test_a_full_queue_and_a_slow_answer_are_refused(served: Served) -> None:
    small = replace(served, limits=Limits(max_batch=1, max_waiting=1, timeout=0.001))
    with TestClient(make_app(Service(small)), base_url=LOOPBACK) as client:
        found = ask(client, prompt=["a", "b", "c"])
        assert (found.status_code, found.headers["Retry-After"]) == (429, "1")
        late = ask(client, max_tokens=500)
        assert (late.status_code, late.json()["error"]["type"]) == (504, "timeout")
        assert "longer --timeout" in late.json()["error"]["message"]
