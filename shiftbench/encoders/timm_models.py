"""`timm:<name>`: any image model of timm as an encoder, with its hub weights or a local file.

Features are the tokens of a transformer's patches (``patch``), the model's own pooling (``pooled``)
or a convolutional network's spatial map (``map``). Input size, mean, deviation and interpolation
come from the model's own data configuration; ordered blocks from the parameter groups that timm
defines for layer-wise learning rates.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import huggingface_hub
import torch
import torch.nn.functional as F
from huggingface_hub.errors import HfHubHTTPError
from torch import Tensor, nn

from shiftbench.encoders import _torchvision, loading
from shiftbench.encoders.base import Encoder
from shiftbench.encoders.statistics import RunningStatistics
from shiftbench.encoders.transforms import Standardize
from shiftbench.errors import ShiftBenchError, unknown

_torchvision.mend()

import timm  # noqa: E402  (only importable once torchvision is)
from timm.data import resolve_model_data_config  # noqa: E402
from timm.models import group_parameters, split_model_name_tag  # noqa: E402
from timm.models._manipulate import MATCH_PREV_GROUP  # noqa: E402

#: Part of a model's name → size of its input in pixels, where it is not the model's own. The paper
#: (arXiv 2509.12531) gives DINOv2 224 px; its own 518 px cost five times as much.
SIZES = (("dinov2", 224),)

#: Part of a model's name → features. The paper takes DINOv2's patch tokens without the class token
#: and CLIP's pooled output. Other models give their spatial map where they have one.
FEATURES = (("dinov2", "patch"), ("clip", "pooled"))
CHOICES = ("patch", "pooled", "map")

#: Seconds in which the hub must answer before it counts as out of reach.
HUB_SECONDS = 5.0

#: What weight files on the hub are called, in the order in which timm looks for them.
HUB_FILES = ("model.safetensors", "open_clip_model.safetensors")

#: How timm's models fail at weights of another one.
_REFUSALS = (RuntimeError, LookupError, ValueError, AttributeError, TypeError, AssertionError)

#: A spatial map is averaged down to at most this many rows and columns.
MAP_CELLS = 4


class TimmNet(RunningStatistics):
    """A timm model without its classifier.

    Args:
        net: the model.
        kind: ``patch`` (patch tokens without prefix tokens, flattened), ``pooled`` (the model's
            own pooling) or ``map`` (the spatial map, averaged down to `MAP_CELLS` a side).
    """

    def __init__(self, net: nn.Module, kind: str) -> None:
        super().__init__()
        self.net, self.kind = net, kind
        self.train(self.training)

    def forward(self, image: Tensor) -> Tensor:
        """Map float32 (B, 3, S, S) to float32 (B, features)."""
        out = self.net.forward_features(image)
        if self.kind == "pooled":
            return self.net.forward_head(out, pre_logits=True).flatten(1)
        if self.kind == "patch":
            return out[:, getattr(self.net, "num_prefix_tokens", 0) :].flatten(1)
        if getattr(self.net, "output_fmt", "NCHW") == "NHWC":
            out = out.permute(0, 3, 1, 2)
        cells = (min(out.shape[-2], MAP_CELLS), min(out.shape[-1], MAP_CELLS))
        return F.adaptive_avg_pool2d(out, cells).flatten(1)


def build(
    name: str,
    *,
    weights: Path | None = None,
    pretrained: bool = True,
    input_size: int | None = None,
    features: str | None = None,
) -> Encoder:
    """Return the encoder.

    Args:
        name: timm's name, with or without the tag of its weights.
        weights: safetensors file in place of the hub's weights.
        pretrained: load weights; without, the network is random and nothing is fetched.
        input_size: pixels that frames are resized to; the model's own, or `SIZES`.
        features: one of `CHOICES`; by default `FEATURES`, else the spatial map where the model has
            one, else the pooled output.

    Raises:
        ShiftBenchError: no such model, size or features; weights that are missing or do not fit.
    """
    architecture = check_name(name)
    config = _data_config(name)
    own = config["input_size"][-1]
    size = input_size or next((s for part, s in SIZES if part in architecture), own)
    options = {"img_size": size} if config["fixed_input_size"] and size != own else {}
    if not pretrained:
        net, digest = _create(name, **options), ""
    elif weights is not None:
        net, digest = _from_file(name, weights, options), loading.digest(weights)
    else:
        net = _from_hub(name, options)
        digest = _hub_digest(name) or _digest(net)
    net.reset_classifier(0)
    kind = features or next((k for part, k in FEATURES if part in architecture), None)
    shape = _output_shape(net, size, name)
    if kind is None:
        kind = "map" if len(shape) == 4 else "pooled"
    if kind not in CHOICES:
        raise unknown("features", kind, CHOICES, "--encoder-features")
    if (kind, len(shape)) in (("patch", 4), ("map", 3), ("map", 2), ("patch", 2)):
        raise ShiftBenchError(
            f"encoder 'timm:{name}' has no features '{kind}': it has no such axis"
        )
    module = TimmNet(net, kind).eval()
    length = _prune(module, size)
    return Encoder(
        name=f"timm:{name}",
        module=module.train(),
        features=length,
        transform=Standardize(size, config["mean"], config["std"], _mode(config["interpolation"])),
        blocks=ordered_blocks(net),
        pretrained=pretrained,
        sha256=digest,
    )


def check_name(name: str) -> str:
    """Return the architecture in a timm name, without the tag of its weights.

    Raises:
        ShiftBenchError: there is no such model, with the nearest names.
    """
    architecture, _ = split_model_name_tag(name)
    if not timm.is_model(architecture):
        near = timm.list_models(f"*{architecture[:6]}*") or timm.list_models()
        raise _unknown(architecture, near)
    return architecture


def ordered_blocks(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return (name, module) of the model's blocks in order, without stem, final norm and head.

    A group of parameters that is no single module, such as a down-sampling layer with the block
    after it, becomes a list of modules. Models that define no groups have no blocks.
    """
    if not hasattr(net, "group_matcher"):
        return []
    matcher = net.group_matcher(coarse=False)
    if isinstance(matcher, dict):
        specs = [spec for key, value in matcher.items() if key != "stem" for spec in _specs(value)]
        # A spec with this ordinal appends what stands after the last block to it.
        specs = [spec for spec in specs if spec[1] != MATCH_PREV_GROUP]
        groups = group_parameters(net, {"blocks": specs})
        inside = [re.compile(pattern) for pattern, _ in specs]
        found = [
            names
            for names in groups.values()
            if all(any(pattern.match(name) for pattern in inside) for name in names)
        ]
    else:
        # A function numbers everything from the stem on.
        found = list(group_parameters(net, matcher).values())[1:]
    blocks = []
    for names in found:
        parts = dict(_cover(net, set(names)))
        label = ",".join(parts)
        modules = list(parts.values())
        blocks.append((label, modules[0] if len(modules) == 1 else nn.ModuleList(modules)))
    return blocks


def _specs(value: str | list | tuple | None) -> list[tuple]:
    if value is None:
        return []
    return [(value, None)] if isinstance(value, str) else list(value)


def _cover(module: nn.Module, names: set[str], prefix: str = "") -> Iterable[tuple]:
    """Yield the largest submodules all of whose parameters are among ``names``."""
    own = {prefix + name for name, _ in module.named_parameters()}
    if not own & names:
        return
    if own <= names:
        yield prefix.rstrip("."), module
        return
    for name, child in module.named_children():
        yield from _cover(child, names, f"{prefix}{name}.")


def _data_config(name: str) -> dict:
    """Return the model's data configuration without building it."""
    try:
        config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        raise ShiftBenchError(f"encoder 'timm:{name}': {error}") from error
    values = config.to_dict()
    fixed = values.get("fixed_input_size", False)
    return {**resolve_model_data_config(None, pretrained_cfg=values), "fixed_input_size": fixed}


def _mode(interpolation: str) -> str:
    return interpolation if interpolation in ("bilinear", "bicubic") else "bilinear"


def _create(name: str, **options) -> nn.Module:
    try:
        return timm.create_model(name, **options)
    except (AssertionError, ValueError, TypeError) as error:
        raise ShiftBenchError(f"encoder 'timm:{name}' cannot be built: {error}") from error


def _from_file(name: str, path: Path, options: dict) -> nn.Module:
    """Build and fill a model through timm's loader, which knows each model's older formats."""
    tensors = loading.read(path)
    config = timm.get_pretrained_cfg(name).to_dict()
    heads = config.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else heads
    # timm drops its own check of names where the number of classes differs from the file's. Where
    # the file has no classifier by timm's name, it has none, or is of an older format with its own.
    found = [len(tensors[f"{h}.weight"]) for h in heads if f"{h}.weight" in tensors]
    candidates = found[:1] or [0, *filter(None, [config["num_classes"]])]
    overlay = {"file": str(path), "source": "", "custom_load": False, "label_offset": 0}
    if path.suffix != ".safetensors":
        overlay |= {"file": None, "state_dict": dict(tensors)}
    failures = []
    for classes in candidates:
        try:
            return timm.create_model(
                name,
                pretrained=True,
                num_classes=classes,
                pretrained_cfg_overlay={**overlay, "num_classes": classes},
                **options,
            )
        except _REFUSALS as error:
            failures.append(error)
    expected = _create(name, num_classes=candidates[0], **options).state_dict()
    loading.check(expected, tensors, f"{loading.FLAG} {path}")
    raise ShiftBenchError(f"{loading.FLAG} {path}: cannot be loaded: {failures[0]}")


def _from_hub(name: str, options: dict) -> nn.Module:
    """Build a model and fill it from the hub's cache or the hub."""
    source = timm.get_pretrained_cfg(name).to_dict()
    repository = source.get("hf_hub_id")
    unreachable = _why_unreachable(repository) if repository else ""
    try:
        with _cache_alone() if unreachable else nullcontext():
            return timm.create_model(name, pretrained=True, **options)
    # Each layer below has exceptions of its own for a missing network, a missing file, a full disk.
    except Exception as error:
        if not (repository or source.get("url")):
            raise ShiftBenchError(
                f"encoder 'timm:{name}': timm has no pre-trained weights for it; give some with "
                f"{loading.FLAG} FILE"
            ) from error
        where = (
            f"model.safetensors from https://huggingface.co/{repository}"
            if repository
            else source["url"]
        )
        reason = unreachable or (str(error).splitlines() or [repr(error)])[0]
        raise ShiftBenchError(
            f"encoder 'timm:{name}': its weights are not in the cache and could not be fetched "
            f"({reason}). Fetch {where} and give it with {loading.FLAG} FILE"
        ) from error


def _why_unreachable(repository: str) -> str:
    """Ask the hub once, and return why it does not answer, or an empty text.

    Its own library asks again for most of a minute, which no setting shortens.
    """
    try:
        url = huggingface_hub.hf_hub_url(repository, "config.json")
        huggingface_hub.get_hf_file_metadata(url, timeout=HUB_SECONDS)
    except HfHubHTTPError:
        return ""  # an answer, if not the one that was hoped for
    except Exception as error:  # of the HTTP library, which differs between versions
        return str(error) or repr(error)
    return ""


@contextmanager
def _cache_alone() -> Iterator[None]:
    """Let the hub's library look into its cache without asking the hub."""
    constants = huggingface_hub.constants
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _output_shape(net: nn.Module, size: int, name: str) -> torch.Size:
    """Return the shape of the last features of one frame."""
    net.eval()
    try:
        with torch.no_grad():
            found = net.forward_features(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError) as error:
        raise ShiftBenchError(
            f"encoder 'timm:{name}': does not take frames of {size} px: {error}"
        ) from error
    if not isinstance(found, torch.Tensor):
        raise ShiftBenchError(
            f"encoder 'timm:{name}': gives a {type(found).__name__} of features, not one map or "
            "one sequence of tokens; choose another model"
        )
    return found.shape


def _prune(module: TimmNet, size: int) -> int:
    """Drop what the features do not need, such as the head's layers, and return their number."""
    parameters = list(module.parameters())
    out = module(torch.zeros(1, 3, size, size))
    gradients = torch.autograd.grad(out.sum(), parameters, allow_unused=True)
    unused = {id(p) for p, g in zip(parameters, gradients, strict=True) if g is None}
    for parent in list(module.net.modules()):
        for name, child in parent.named_children():
            own = {id(p) for p in child.parameters()}
            if own and own <= unused:
                setattr(parent, name, nn.Identity())
    return out.shape[-1]


def _hub_digest(name: str) -> str:
    """Return the hex SHA-256 of the file in the hub's cache, empty where there is none.

    It is that of the file when a user fetches it and gives it by hand.
    """
    repository, _, revision = (timm.get_pretrained_cfg(name).hf_hub_id or "").partition("@")
    for file in HUB_FILES if repository else ():
        path = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(path, str):
            return loading.digest(Path(path))
    return ""


def _digest(net: nn.Module) -> str:
    """Return the hex SHA-256 of a model's tensors and their names."""
    total = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        total.update(name.encode())
        total.update(tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


def _unknown(name: str, near: list[str]) -> ShiftBenchError:
    """Return the error for an unknown model; timm has too many names to list them all."""
    import difflib

    close = difflib.get_close_matches(name, near, n=3, cutoff=0.3) or near[:3]
    return ShiftBenchError(
        f"unknown timm model '{name}' for --encoder. Did you mean "
        f"{' or '.join(repr(f'timm:{n}') for n in close)}? All: timm.list_models()"
    )
