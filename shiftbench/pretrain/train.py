"""Pre-training of `synth-2`: draw scenes, train on them, export weights, card and curve."""

from __future__ import annotations

import csv
import json
import math
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from tqdm import tqdm

from shiftbench import __version__, devices, files, seeding
from shiftbench.encoders import loading, synth
from shiftbench.errors import ShiftBenchError
from shiftbench.pretrain import shards
from shiftbench.pretrain.batches import Batch, Pool, augment
from shiftbench.pretrain.objectives import OBJECTIVES

#: Scenes in a batch; each gives two views.
BATCH = 64
LEARNING_RATE, WEIGHT_DECAY, CLIP, WARMUP = 2e-3, 0.02, 5.0, 100
#: Steps between two rows of the loss curve, and between two saved states.
LOG_EVERY, SAVE_EVERY = 25, 250
#: Batches that the held-out numbers and the centring are measured on.
HELD_OUT, CENTRING = 8, 32
#: What is added to each variance within a scene, in shares of their mean, before all are evened
#: out. Ours; with the channels alone whitened, R² under backgrounds was 0.42, 0.41 and 0.38 with
#: 0.03, 0.1 and 0.3, measured as in docs/pretraining.md.
SHRINKAGE = 0.1

_STATE, _SCENES = "state.safetensors", "scenes"
WEIGHTS, CARD, CURVE = "synth-2.safetensors", "synth-2.json", "synth-2_loss.csv"


@dataclass(frozen=True)
class Settings:
    """What decides the outcome of a run, and must be equal when it is resumed."""

    scenes: int
    views: int
    seed: int

    @property
    def shards(self) -> int:
        """Number of shards trained on; the one after them is held out."""
        return math.ceil(self.scenes / shards.SCENES)

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        return math.ceil(self.views / (2 * BATCH))


class Learner(nn.Module):
    """The network and the objectives' own parameters, with the optimiser of both."""

    def __init__(self, settings: Settings, device: str) -> None:
        super().__init__()
        torch.manual_seed(seeding.seed_of("pretrain", settings.seed, "networks"))
        self.settings, self.device = settings, device
        self.net = synth.SynthNet(whitened=True)
        self.transform = synth.transform()
        scale = shards.SIZE // 2 // synth.GRID
        self.objectives = nn.ModuleDict(
            {name: make(synth.CHANNELS, scale) for name, (_, make) in OBJECTIVES.items()}
        )
        self.to(device)
        matrices = [p for p in self.parameters() if p.ndim > 1]
        vectors = [p for p in self.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors}],
            lr=LEARNING_RATE,
            weight_decay=0.0,
        )

    def batch(self, pool: Pool, *name: str | int) -> tuple[Batch, torch.Generator]:
        """Draw the batch called ``name``; the same name always gives the same batch."""
        seed = seeding.seed_of("pretrain", self.settings.seed, *name)
        scenes, pictures = pool.draw(seeding.rng(seed), BATCH)
        generator = torch.Generator(self.device).manual_seed(seed)
        moved = (torch.from_numpy(array).to(self.device) for array in (scenes, pictures))
        return augment(*moved, generator), generator

    def losses(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum and the single losses."""
        maps = self.net.maps(self.transform(batch.images))
        total, parts = torch.zeros((), device=maps.device), {}
        for name, (weight, _) in OBJECTIVES.items():
            found = self.objectives[name](maps, batch, generator)
            total = total + weight * sum(found.values())
            parts.update(found)
        return total, parts

    def step(self, index: int, pool: Pool) -> dict[str, float]:
        """Do optimiser step ``index`` and return its losses."""
        # Linear warm-up, then half a cosine down to zero.
        progress = index / self.settings.steps
        rate = LEARNING_RATE * min(1.0, (index + 1) / WARMUP)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * 0.5 * (1.0 + math.cos(math.pi * progress))
        self.net.learn_statistics = True
        self.train()
        total, parts = self.losses(*self.batch(pool, "step", index))
        if not torch.isfinite(total):
            raise ShiftBenchError(f"pretrain: the loss is not finite at step {index}")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.parameters(), CLIP)
        self.optimizer.step()
        return {"total": float(total.detach()), **{k: float(v.detach()) for k, v in parts.items()}}

    @torch.no_grad()
    def held_out(self, pool: Pool) -> dict[str, float]:
        """Return mean losses on scenes never trained on."""
        self.eval()
        sums: dict[str, float] = {}
        for i in range(HELD_OUT):
            total, parts = self.losses(*self.batch(pool, "held out", i))
            for name, value in {"total": total, **parts}.items():
                sums[name] = sums.get(name, 0.0) + float(value) / HELD_OUT
        return {f"held_out_{name}": value for name, value in sums.items()}

    @torch.no_grad()
    def centre(self, pool: Pool) -> None:
        """Fit the mean of every feature, and what evens out how much appearance moves them.

        Within-class covariance normalisation (Hatch, Kajarekar & Stolcke 2006, "Within-class
        covariance normalization for SVM-based speaker recognition"), where a class is a scene and
        its members are two appearances. What reads the features sees clean frames alone and cannot
        know which directions appearance will move; whitened, it moves all about as far, so those
        in which scenes differ stand out. The covariance of a map is taken to be that of its
        channels times that of its places, fitted in this order, once. The variance of a feature
        is 1 on average.
        """
        self.eval()
        batches = (self.batch(pool, "centring", i)[0].images.chunk(2) for i in range(CENTRING))
        both = [[self.net.maps(self.transform(view)) for view in views] for views in batches]
        maps = torch.stack([torch.cat(views) for views in zip(*both, strict=True)]).flatten(3)
        mean = maps.mean((0, 1))
        apart = maps[0] - maps[1]
        channels = _whitening(apart.transpose(0, 1).flatten(1))
        places = _whitening((channels @ apart).flatten(0, 1).T)
        deviation = (channels @ (maps - mean) @ places).square().mean().sqrt()
        self.net.mean.copy_(mean.flatten())
        self.net.channels.copy_(channels / deviation)
        self.net.places.copy_(places)

    def save(self, path: Path, step: int, seconds: float) -> None:
        """Write everything that a resumed run needs; the old state stays until the new is whole."""
        tensors = dict(self.state_dict())
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer.{index}.{k}": v for k, v in state.items()})
        meta = {**asdict(self.settings), "step": step, "seconds": seconds}
        _save(path, tensors, {"pretrain": json.dumps(meta)})

    def restore(self, path: Path) -> tuple[int, float]:
        """Read what `save` wrote; returns the step and the seconds spent so far.

        Raises:
            ShiftBenchError: the file is broken or belongs to a run with other settings, or of
                another network.
        """
        try:
            with safe_open(path, framework="pt") as file:
                meta = json.loads((file.metadata() or {})["pretrain"])
            tensors = load_file(path, device=self.device)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise ShiftBenchError(
                f"{path}: broken state of a pre-training run ({error}): remove it to start anew"
            ) from error
        for key, value in asdict(self.settings).items():
            if meta.get(key) != value:
                raise ShiftBenchError(
                    f"{path}: this run has {key} {meta.get(key)}, not {value}: give the same "
                    "--seed, --scenes and --views, or another --out"
                )
        own = {k: v for k, v in tensors.items() if not k.startswith("optimizer.")}
        loading.check(self.state_dict(), own, f"{path}: give another --out, or remove it")
        self.load_state_dict(own)
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                state.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        return meta["step"], meta["seconds"]


def run(
    out: Path,
    *,
    scenes: int = 20_000,
    views: int = 640_000,
    seed: int = 0,
    resume: bool = False,
    device: str = "cpu",
    progress: bool = True,
) -> Path:
    """Make the weights of `synth-2`.

    Every random draw follows ``seed``. The scenes (32 KiB each) stay in ``out``/scenes, so that a
    resumed or repeated run draws none twice.

    Args:
        out: folder of the run; the weights, their card and their loss curve are written into it.
        scenes: number of scenes, rounded up to whole shards of 500.
        views: images to train on, counting repetitions, rounded up to whole batches of 128.
        seed: seed of scenes, augmentation and initial weights.
        resume: continue the run in ``out`` where there is one.
        device: torch device that trains, or ``auto``; scenes are drawn by the CPU or OpenGL's own
            device.
        progress: show bars on stderr.

    Returns:
        The path of the weights, float16 safetensors.

    Raises:
        ShiftBenchError: a bad number or device, a folder that cannot be written, a run in ``out``
            that ``resume`` does not allow to go on or that has other settings, or no OpenGL
            backend.
    """
    for flag, value, least in (("--scenes", scenes, 1), ("--views", views, 1), ("--seed", seed, 0)):
        if value < least:
            raise ShiftBenchError(f"{flag} {value}: must be at least {least}")
    device = devices.usable(device)
    files.check_writable(out)
    settings = Settings(scenes, views, seed)
    state, curve = out / _STATE, out / CURVE
    if state.exists() and not resume:
        raise ShiftBenchError(f"--out {out}: holds a run already: give --resume or another folder")
    learner = Learner(settings, device)
    start, spent = learner.restore(state) if state.exists() else (0, 0.0)
    began = time.monotonic() - spent
    # Scenes of another seed must not be mistaken for this run's.
    folder = out / _SCENES / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    for index in tqdm(range(settings.shards + 1), "scenes", unit="shard", disable=not progress):
        shards.write(folder, seed, index)
    pool = Pool(folder, range(settings.shards))
    unseen = Pool(folder, [settings.shards])

    rows = [row for row in _read_curve(curve) if row["step"] <= start] if start else []
    recent: list[dict[str, float]] = []
    bar = tqdm(
        range(start, settings.steps),
        "views",
        initial=start,
        total=settings.steps,
        unit="step",
        disable=not progress,
    )
    for index in bar:
        recent.append(learner.step(index, pool))
        done = index + 1
        last = done == settings.steps
        if done % LOG_EVERY == 0 or last:
            row = {"step": done, "views": done * 2 * BATCH}
            row.update({k: sum(r[k] for r in recent) / len(recent) for k in recent[0]})
            recent.clear()
            bar.set_postfix({k: f"{row[k]:.3f}" for k in list(row)[2:]})
            rows.append(row)
        if done % SAVE_EVERY == 0 or last:
            rows[-1].update(learner.held_out(unseen))
            # First the curve: a state must never be ahead of it.
            _write_curve(curve, rows)
            learner.save(state, done, time.monotonic() - began)
    return _export(out, learner, pool, unseen, time.monotonic() - began)


def _whitening(samples: Tensor) -> Tensor:
    """Return the symmetric matrix (n, n) that makes the rows of samples, (n, many), alike.

    They become uncorrelated and of about one size: the inverse root of their covariance (their mean
    is taken to be 0) in units of the mean variance, plus `SHRINKAGE` times the identity, so that
    what hardly varies is not blown up.
    """
    covariance = samples @ samples.T
    covariance *= len(covariance) / covariance.trace()
    size, axes = torch.linalg.eigh(covariance.double().cpu())
    return (axes @ torch.diag((size + SHRINKAGE).rsqrt()) @ axes.T).to(samples)


def _export(out: Path, learner: Learner, pool: Pool, unseen: Pool, seconds: float) -> Path:
    """Centre the features and write the weights and their card."""
    learner.centre(pool)
    tensors = {
        name: tensor.half()
        for name, tensor in learner.net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    path = out / WEIGHTS
    _save(path, tensors, {"license": "MIT"})
    settings = learner.settings
    final = learner.held_out(unseen)
    card: dict[str, Any] = {
        "name": "synth-2",
        "license": "MIT",
        "made_by": f"shiftbench {__version__}",
        "command": (
            f"shiftbench pretrain --seed {settings.seed} --scenes {settings.scenes} "
            f"--views {settings.views}"
        ),
        "seed": settings.seed,
        "architecture": f"timm {synth.BACKBONE}, strides 8 and 16, neck to 8 x 8 x 32",
        "features": "centred, channels and places whitened by their covariance within a scene",
        "parameters": sum(p.numel() for p in learner.net.parameters()),
        "bytes": path.stat().st_size,
        "data": {
            "scenes": settings.shards * shards.SCENES,
            "image_size": shards.SIZE,
            "content": (
                "random primitives, chains and sliders, random cameras, lamps and colours, drawn "
                "by MuJoCo; no task, texture or background of the benchmark"
            ),
            "textures": ["value noise", "checker", "stripes", "gradient", "speckle", "masks"],
        },
        "objective": {name: weight for name, (weight, _) in OBJECTIVES.items()},
        "views": settings.steps * 2 * BATCH,
        "steps": settings.steps,
        "optimizer": {
            "name": "AdamW",
            "learning_rate": LEARNING_RATE,
            "weight_decay": WEIGHT_DECAY,
            "batch_views": 2 * BATCH,
            "schedule": "warm-up, half cosine",
        },
        "loss_curve": CURVE,
        "final": {name: round(value, 4) for name, value in final.items()},
        "hardware": f"{platform.machine()}, {learner.device}, {torch.get_num_threads()} threads",
        "minutes": round(seconds / 60.0, 1),
        "torch": torch.__version__,
    }
    with files.replacing(out / CARD) as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return path


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with files.replacing(path) as temporary:
        temporary.write_bytes(save(whole, metadata=metadata))


def _write_curve(path: Path, rows: list[dict[str, float]]) -> None:
    # The last row has the held-out columns that most rows lack.
    with files.replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[-1]), restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            whole = {k: v if isinstance(v, int) else f"{v:.5f}" for k, v in row.items()}
            writer.writerow(whole)


def _read_curve(path: Path) -> list[dict[str, float]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {k: int(v) if k in ("step", "views") else float(v) for k, v in row.items() if v}
            for row in csv.DictReader(file)
        ]
