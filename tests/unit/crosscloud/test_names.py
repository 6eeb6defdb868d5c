"""The public names: each is there, and none loads more than it needs."""

import subprocess
import sys

import crosscloud


def test_every_public_name_is_there_and_listed() -> None:
    assert dir(crosscloud) == sorted(crosscloud.__all__)
    assert all(getattr(crosscloud, name) for name in crosscloud.__all__)


def test_a_learner_of_ones_own_reads_texts_without_torch() -> None:
    program = (
        "import sys; from crosscloud import BYTE_ENCODER, Learner, LearnerContext, TextData\n"
        "sys.exit(bool({'torch', 'transformers', 'grpc'} & sys.modules.keys()))"
    )
    assert subprocess.run((sys.executable, "-c", program), check=False).returncode == 0
