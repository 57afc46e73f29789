"""The numbers that a trial computes in: which they are on this machine, and the forward pass in them."""

from contextlib import AbstractContextManager
from typing import Any

import torch

from trainable.compute import CPU


def torch_dtype(dtype: str, device: torch.device = CPU) -> torch.dtype:
    """A recipe's `dtype` on `device`; `auto` is bfloat16 on a GPU that has it, else float32."""
    if dtype == "auto":
        has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_bfloat16 else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Runs the forward pass in `dtype`; float32 is no autocast at all."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32)
