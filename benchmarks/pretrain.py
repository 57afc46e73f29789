"""Pre-trains the sample checkpoint on moved geometric shapes made on the fly; nothing of the program needs it again.

python benchmarks/pretrain.py --out trainable/sample/checkpoint
"""

import argparse
import time
from pathlib import Path

import torch
from shapes import IMAGE_SIZE, SHAPES, ShapeStream
from torch import nn
from torch.utils.data import DataLoader
from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessorPil, ResNetConfig
from transformers.models.detr.modeling_detr import DetrFrozenBatchNorm2d

from trainable.coco import coco_metrics
from trainable.detection import ground_truth_from_labels
from trainable.readout import SOFTMAX

MEAN, STD = 0.05, 0.15
"""Mean and deviation of difference images in 0-1; most of a difference is nearly black, unlike a photograph."""


def build_model() -> DetrForObjectDetection:
    """A DETR of 1.5 M parameters at stride 16 with 16 queries, auxiliary loss and no dropout."""
    backbone = ResNetConfig(
        embedding_size=32, hidden_sizes=[32, 64, 128], depths=[1, 1, 2], layer_type="basic", out_features=["stage3"]
    )
    config = DetrConfig(
        backbone_config=backbone,
        d_model=128,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        num_queries=16,
        auxiliary_loss=True,
        dropout=0.0,
        id2label=dict(enumerate(SHAPES)),
        label2id={name: index for index, name in enumerate(SHAPES)},
    )
    model = DetrForObjectDetection(config)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    _place_queries_on_a_grid(model)
    return model


def pretrain(cycle: int, stop_after: int, batch: int, learning_rate: float, seed: int, out: Path) -> None:
    """Trains on `stop_after` samples and saves model and processor into `out` on the way and at the end.

    Args:
        cycle: samples of the learning rate's whole cycle, of which the run may be only the beginning.
        stop_after: samples to train on, at most `cycle`.
        batch: samples a step.
        learning_rate: peak learning rate.
        seed: of weights and stream.
        out: where model and processor are saved.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model = build_model()
    norms = _thaw_batch_norm(model)
    model.train()
    steps, live_until = cycle // batch, int(0.8 * cycle // batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.05)
    stream = DataLoader(ShapeStream(seed), batch, num_workers=1, collate_fn=list, prefetch_factor=8)
    started = time.time()
    running: dict[str, float] = {}
    for step, items in zip(range(stop_after // batch), stream, strict=False):
        if step == live_until:
            for norm in norms.values():
                norm.eval()
        pixels, labels = _batch(items)
        outputs = model(pixel_values=pixels, labels=labels)
        optimizer.zero_grad()
        outputs.loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        schedule.step()
        for name in ("loss_ce", "loss_bbox", "loss_giou"):
            running[name] = 0.99 * running.get(name, 2.0) + 0.01 * outputs.loss_dict[name].item()
        if (step + 1) % 500 == 0:
            figures = " ".join(f"{name} {value:.3f}" for name, value in running.items())
            print(f"{(step + 1) * batch} samples {time.time() - started:.0f} s {figures}", flush=True)
        if (step + 1) % 5000 == 0:
            save(model, norms, out)
    save(model, norms, out)
    print(f"{stop_after // batch * batch} samples in {time.time() - started:.0f} s, {evaluate(out)}")


def save(model: DetrForObjectDetection, norms: dict[str, nn.BatchNorm2d], out: Path) -> None:
    """Writes the model with its batch norms frozen, as DETR has them, and its image processor."""
    frozen = build_model()
    state = {name: value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    frozen.load_state_dict(state)
    frozen.save_pretrained(out)
    width, height = IMAGE_SIZE
    size = {"shortest_edge": min(width, height), "longest_edge": max(width, height)}
    DetrImageProcessorPil(size=size, image_mean=[MEAN] * 3, image_std=[STD] * 3).save_pretrained(out)


def evaluate(checkpoint: Path, images: int = 1000, seed: int = 12345) -> str:
    """mAP and mAP50 over images that training did not see."""
    model = DetrForObjectDetection.from_pretrained(checkpoint).eval()
    found, ground_truth = [], []
    for _, sample in zip(range(images), ShapeStream(seed), strict=False):
        pixels, labels = _batch([sample])
        with torch.no_grad():
            outputs = model(pixel_values=pixels)
        found += SOFTMAX.detections(outputs.logits.numpy(force=True), outputs.pred_boxes.numpy(force=True))
        ground_truth.append(ground_truth_from_labels(labels[0]))
    metrics = coco_metrics(found, ground_truth, [IMAGE_SIZE] * images, SHAPES)
    return f"mAP {metrics['mAP']:.3f}, mAP50 {metrics['mAP50']:.3f} over {images} unseen images"


def _batch(items: list[dict[str, torch.Tensor]]) -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
    pixels = (torch.stack([item["difference"] for item in items]).float() / 255 - MEAN) / STD
    labels = [
        {"boxes": item["boxes_cxcywh_normalised"], "class_labels": item["class_labels"]} for item in items
    ]  # fmt: skip
    return pixels, labels


def _thaw_batch_norm(module: nn.Module, prefix: str = "") -> dict[str, nn.BatchNorm2d]:
    """Replaces DETR's frozen batch norms by live ones: a backbone from scratch does not learn without them."""
    thawed: dict[str, nn.BatchNorm2d] = {}
    for name, child in list(module.named_children()):
        if isinstance(child, DetrFrozenBatchNorm2d):
            live = nn.BatchNorm2d(child.weight.numel())
            setattr(module, name, live)
            thawed[prefix + name] = live
        else:
            thawed |= _thaw_batch_norm(child, f"{prefix}{name}.")
    return thawed


@torch.no_grad()
def _place_queries_on_a_grid(model: DetrForObjectDetection) -> None:
    """Starts each query at a point of a 4 x 4 grid.

    The query's embedding is the sine position of its point, and cross-attention's query projection starts as its
    key projection, so that a query first looks round its own point. Spatial queries are what shortens DETR's
    training in Anchor DETR (arXiv 2109.07107); here they are only the start, the model stays a plain DETR.
    """
    detr, count = model.model, model.config.num_queries
    side = int(count**0.5)
    positions = detr.position_embedding(torch.Size((1, 1, 48, 64)), "cpu", torch.float32, torch.ones(1, 48, 64))
    rows = ((torch.arange(side) + 0.5) / side * 48).long()
    columns = ((torch.arange(side) + 0.5) / side * 64).long()
    grid = positions[0][:, rows][:, :, columns].flatten(1).T
    detr.query_position_embeddings.weight.copy_(grid)
    for layer in detr.decoder.layers:
        layer.encoder_attn.q_proj.weight.copy_(layer.encoder_attn.k_proj.weight)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cycle", type=int, default=420_000)
    arguments.add_argument("--stop-after", type=int, default=160_000)
    arguments.add_argument("--batch", type=int, default=32)
    arguments.add_argument("--rate", type=float, default=5e-4)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--out", type=Path, required=True)
    given = arguments.parse_args()
    pretrain(given.cycle, given.stop_after, given.batch, given.rate, given.seed, given.out)
