"""Learners by name: how a run's file and its genesis call one that comes with crosscloud.

A name says nothing of where the code lies, so that moving it changes no genesis.
"""

from typing import Final

BUILT_IN: Final = "huggingface"
"""A causal language model of Hugging Face's, trained with AdamW."""

_FORMER: Final = ("worker.huggingface:build", "worker.training.huggingface:build")


def refusal_of_former(name: str) -> str:
    """Return what to write instead of a built-in learner's path; "" where it is none."""
    if name not in _FORMER:
        return ""
    return (
        f"the built-in learner is called {BUILT_IN!r} now: write `learner: {BUILT_IN}`; a genesis "
        "that has the path was made by an older crosscloud, which can end its run"
    )
