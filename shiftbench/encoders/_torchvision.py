"""Import torchvision even where its compiled operators do not match the installed torch.

timm imports torchvision for transforms and pretrained-weight tables only. A torchvision wheel built
for CUDA, next to a CPU build of torch, fails at import with "operator torchvision::nms does not
exist": its Python part registers fake implementations for two operators that its library did not
define. Defining their schemas first is enough, as nothing here runs them.
"""

from __future__ import annotations

import importlib
import sys

import torch

#: Operators whose missing schema stops the import.
_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

#: Keeps the definitions alive: they are removed with the library object.
_library: torch.library.Library | None = None


def mend() -> bool:
    """Make ``import torchvision`` work; must run before timm is imported.

    Returns:
        True where the plain import failed for the known reason and was mended.

    Raises:
        ImportError, RuntimeError: torchvision fails to import for another reason.
    """
    global _library
    if "torchvision" in sys.modules:
        return _library is not None
    try:
        importlib.import_module("torchvision")
        return False
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _library = torch.library.Library("torchvision", "DEF")
    for operator in _OPERATORS:
        _library.define(operator + _SCHEMA)
    importlib.import_module("torchvision")
    return True
