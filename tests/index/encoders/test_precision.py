"""The probe of what the processor multiplies, and what the encoder makes of either answer."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from support.bert_models import save_bert
from support.precision import Bfloat16

from index.encoders.encoder import Encoder
from index.encoders.precision import native_format
from index.errors import IndexFault


@pytest.mark.parametrize(("answer", "chosen"), [("native", "bfloat16"), ("emulated", "float32")])
def test_encoder_chooses_the_format_that_the_processor_multiplies(
    tmp_path: Path, bfloat16_is: Bfloat16, answer: str, chosen: str
) -> None:
    bfloat16_is(answer)
    encoder = Encoder(save_bert(tmp_path / "bert"))
    assert (native_format(), encoder.dtype, encoder.engine) == (chosen, chosen, "bert")


def test_encoder_in_a_format_that_the_processor_emulates_is_refused(tmp_path: Path, bfloat16_is: Bfloat16) -> None:
    bfloat16_is("emulated")
    with pytest.raises(IndexFault, match=r"emulates.*index\.encoder\.dtype to auto or float32"):
        Encoder(save_bert(tmp_path / "bert"), dtype="bfloat16")


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not Path("/proc/cpuinfo").exists(), reason="asks Linux about an x86-64 processor"
)
def test_probe_agrees_with_the_flags_of_the_processor(bfloat16_is: Bfloat16) -> None:
    bfloat16_is(None)
    flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    assert native_format() == ("bfloat16" if flags & {"avx512_bf16", "amx_bf16"} else "float32")
