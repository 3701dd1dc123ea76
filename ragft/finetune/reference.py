"""A base model and an adapter as transformers, PEFT and bitsandbytes run them: nothing of ragft's own layers.

What a proof compares with must not be the code that it is to prove: ragft's reading of adapters, its choice of layers,
its quantisation and its attention are all left to these libraries here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from ragft.errors import RagftError
from ragft.finetune import devices
from ragft.finetune.base import stored_dtype
from ragft.finetune.lineage import LiveModel
from ragft.messages import Rendered


def reference_logits(
    live: LiveModel, rows: Sequence[Rendered], dtype: torch.dtype, device: torch.device = devices.CPU
) -> list[torch.Tensor]:
    """Logits that predict the trained tokens of each row, read alone: (trained tokens, vocabulary) in `dtype`.

    Raises:
        RagftError: the libraries cannot load base or adapter.
    """
    model = _peft_model(live, dtype, device)
    found = []
    with torch.inference_mode():
        for row in rows:
            logits = model(input_ids=torch.tensor([row.ids], device=device), use_cache=False).logits[0]
            found.append(logits[[place - 1 for place, trained in enumerate(row.trained) if trained and place]])
    return found


def _peft_model(live: LiveModel, dtype: torch.dtype, device: torch.device) -> nn.Module:
    from peft import PeftModel

    # Read in a dtype that holds the stored values exactly, so that the same values are quantised.
    stored = dtype if stored_dtype(live.base) == dtype else torch.float32
    options: dict[str, Any] = {"dtype": stored if live.quantised else dtype}
    if device.type != "cpu":
        options["device_map"] = {"": str(device)}
    if live.quantised:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
    try:
        base = AutoModelForCausalLM.from_pretrained(
            str(live.base), attn_implementation="eager", local_files_only=True, use_safetensors=True,
            trust_remote_code=False, **options,
        )  # fmt: skip
        for module in base.modules():
            # bitsandbytes 0.50.2 repacks weights in place on processors with AVX512-BF16, see `nf4`.
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
        model = PeftModel.from_pretrained(base, str(live.adapter), use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError) as error:
        raise RagftError(
            f"PEFT cannot load the adapter in {live.adapter} onto {live.base}, so that the merge cannot be proven: "
            f"{' '.join(str(error).split())}"
        ) from error
    return model.eval()
