"""Ten thousand inputs to each decoder, from the kept corpus on; a million each are ``./dev fuzz``."""

import platform
import subprocess
import sys

import pytest

if platform.machine() != "x86_64":
    pytest.skip("atheris has no wheel for this machine", allow_module_level=True)

from tools import fuzz


@pytest.mark.slow("ten thousand inputs, and an import that is instrumented")
@pytest.mark.parametrize("name", fuzz.DECODERS)
def test_nothing_makes_a_decoder_raise_what_its_callers_do_not_catch(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.fuzz", name, "--inputs", "10000"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", fuzz.DECODERS)
def test_each_decoder_has_a_corpus(name: str) -> None:
    assert len(list((fuzz.CORPORA / name).iterdir())) >= 2
