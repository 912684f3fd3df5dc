# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
"""Where the peers in PyTorch run: on the GPU, if there is one."""

from typing import Any

import numpy as np
import torch
from contestants.case import Call

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
if DEVICE != 'cpu':  # to set it costs every call something
  torch.set_default_device(DEVICE)  # where modules make their parameters
torch.set_float32_matmul_precision('high')  # TF32 on a GPU, as JAX multiplies there


def put(x: np.ndarray) -> Any:
  """A tensor on the device."""
  return torch.from_numpy(x).to(DEVICE)


def mixed(dtype: str) -> Any:
  """Computes in bfloat16 what is fit for it, if `dtype` says so."""
  return torch.autocast(DEVICE, torch.bfloat16, enabled=dtype == 'bfloat16')


def finished(call: Call) -> Call:
  """A call that returns when the device has done it."""
  if DEVICE == 'cpu':
    return call

  def synchronous() -> Any:
    result = call()
    torch.cuda.synchronize()
    return result

  return synchronous
