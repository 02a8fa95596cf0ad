"""The eight commonsense benchmarks of LLM-Adapters (Hu et al. 2023).

A row of piqa: the instruction "Please choose the correct solution to the question: How do I ready a
guinea pig cage for it's new occupants? Solution1: ... Solution2: ... Answer format:
solution1/solution2" with the answer "solution1" becomes the Alpaca prompt and, after
"### Response:", the words "the correct answer is". The base generates " solution1"; that is the
first of the two labels in its text and the row's own, so the example counts as right.

Invariant: a label is one of its row's choices; likelihood compares just those.
"""

import re

from perft.errors import DataError
from perft.tasks.benchmarks import Benchmark, Group, Labels
from perft.tasks.extraction import first_choice, labels_match
from perft.tasks.hub import HubDataset, HubRow
from perft.tasks.prompts import TEMPLATE, alpaca, first_response
from perft.tasks.rows import DataRow
from perft.tasks.task import Example, Scorer

LEAD = "the correct answer is"
"""Ends every prompt, in training as in evaluation; PERFT's evaluation appends it."""

_MAX_NEW_TOKENS = 4
_FORMAT = re.compile(r"Answer format:\s*(\S+)\s*$")
_TRUTH = ("true", "false")
_SOLUTIONS = ("solution1", "solution2")
_OPTIONS = ("option1", "option2")
_ENDINGS = ("ending1", "ending2", "ending3", "ending4")
_ANSWERS = ("answer1", "answer2", "answer3", "answer4", "answer5")
_KINDS = (_TRUTH, _SOLUTIONS, _OPTIONS, _ENDINGS, _ANSWERS)


def _benchmark(name: str, choices: tuple[str, ...], hub: HubDataset | None = None) -> Benchmark:
    found = first_choice(choices)
    scorer = Scorer(
        protocol=(
            f'LLM-Adapters, first label of {name}, prompt {TEMPLATE} and "{LEAD}", greedy, '
            f"{_MAX_NEW_TOKENS} tokens"
        ),
        max_new_tokens=_MAX_NEW_TOKENS,
        extract=lambda text: found(first_response(text)),
        matches=labels_match,
    )
    wanted = f"one of {', '.join(choices)}"
    return Benchmark(name, Labels(wanted, lambda label: label in choices), scorer, hub)


def _example(row: DataRow, answer: str) -> Example:
    """Ignores the row's output, which is always "the correct answer is <answer>"."""
    instruction = row.required("instruction")
    stated = _FORMAT.search(instruction)
    choices = tuple(stated.group(1).split("/")) if stated else _kind_of(answer)
    if answer not in choices:
        raise DataError(
            f"{row.where} has the answer {answer!r}; its instruction allows {', '.join(choices)}"
        )
    return Example(
        prompt=alpaca(instruction, row.text("input")) + LEAD,
        completion=f" {answer}",
        answer=answer,
        choices=tuple(f" {choice}" for choice in choices),
        where=row.where,
    )


def _kind_of(answer: str) -> tuple[str, ...]:
    return next(kind for kind in _KINDS if answer in kind)


def _instruction(request: str, options: list[str], label: str, between: str = " ") -> str:
    """An instruction as LLM-Adapters words it, over options called <label>1, <label>2, ..."""
    names = [f"{label}{number}" for number in range(1, len(options) + 1)]
    listed = between.join(
        f"{name.capitalize()}: {option.strip()}"
        for name, option in zip(names, options, strict=True)
    )
    return f"{request.strip()}\n\n{listed}\n\nAnswer format: {'/'.join(names)}"


def _boolq(row: HubRow) -> dict[str, str]:
    request = "Please answer the following question with true or false, question"
    return {
        "instruction": f"{request}: {row['question'].strip()}?\n\nAnswer format: true/false",
        "answer": "true" if row["answer"] else "false",
    }


def _piqa(row: HubRow) -> dict[str, str]:
    request = f"Please choose the correct solution to the question: {row['goal']}"
    options = [row["sol1"], row["sol2"]]
    return {
        "instruction": _instruction(request, options, "solution", "\n\n"),
        "answer": f"solution{int(row['label']) + 1}",
    }


def _social_i_qa(row: HubRow) -> dict[str, str]:
    request = "Please choose the correct answer to the question"
    options = [row["answerA"], row["answerB"], row["answerC"]]
    return {
        "instruction": _instruction(
            f"{request}: {row['context']} {row['question']}", options, "answer"
        ),
        "answer": f"answer{int(row['label'])}",
    }


def _hellaswag(row: HubRow) -> dict[str, str]:
    request = "Please choose the correct ending to complete the given sentence"
    sentence = f"{row['activity_label']}: {row['ctx']}"
    return {
        "instruction": _instruction(f"{request}: {sentence}", row["endings"], "ending"),
        "answer": f"ending{int(row['label']) + 1}",
    }


def _winogrande(row: HubRow) -> dict[str, str]:
    request = "Please choose the correct answer to fill in the blank to complete the given sentence"
    options = [row["option1"], row["option2"]]
    return {
        "instruction": _instruction(f"{request}: {row['sentence']}", options, "option"),
        "answer": f"option{int(row['answer'])}",
    }


def _science(question: str, row: HubRow) -> dict[str, str]:
    """ARC and OpenBookQA; labels are digits in some rows and letters in others."""
    options = row["choices"]
    request = f"Please choose the correct answer to the question: {row[question]}"
    number = options["label"].index(row["answerKey"]) + 1
    return {
        "instruction": _instruction(request, options["text"], "answer"),
        "answer": f"answer{number}",
    }


def _arc(config: str) -> HubDataset:
    return HubDataset(
        id="allenai/ai2_arc",
        config=config,
        train="train",
        test="test",
        convert=lambda row: _science("question", row),
    )


_EVERY = _benchmark("validation", tuple(label for kind in _KINDS for label in kind))

GROUP = Group(
    name="commonsense",
    mixtures=("commonsense_170k", "commonsense_15k"),
    train_labels=_EVERY.labels,
    validation=_EVERY,
    benchmarks=(
        _benchmark(
            "boolq",
            _TRUTH,
            HubDataset(id="google/boolq", train="train", test="validation", convert=_boolq),
        ),
        _benchmark(
            "piqa",
            _SOLUTIONS,
            HubDataset(id="baber/piqa", train="train", test="validation", convert=_piqa),
        ),
        _benchmark(
            "social_i_qa",
            _ANSWERS,
            HubDataset(id="lighteval/siqa", train="train", test="validation", convert=_social_i_qa),
        ),
        _benchmark(
            "hellaswag",
            _ENDINGS,
            HubDataset(id="Rowan/hellaswag", train="train", test="validation", convert=_hellaswag),
        ),
        _benchmark(
            "winogrande",
            _OPTIONS,
            HubDataset(
                id="allenai/winogrande",
                config="winogrande_xl",
                train="train",
                test="validation",
                convert=_winogrande,
            ),
        ),
        _benchmark("ARC-Easy", _ANSWERS, _arc("ARC-Easy")),
        _benchmark("ARC-Challenge", _ANSWERS, _arc("ARC-Challenge")),
        _benchmark(
            "openbookqa",
            _ANSWERS,
            HubDataset(
                id="allenai/openbookqa",
                config="main",
                train="train",
                test="test",
                convert=lambda row: _science("question_stem", row),
            ),
        ),
    ),
    example=_example,
)
