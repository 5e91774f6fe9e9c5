"""The work of vit.rs in PyTorch: timm's DeiT-Tiny, and learned composition of LoRA modules by weights."""

import time

import timm
import torch
from torch.func import functional_call

RUNS, CLASSES, MODULES, RANK = 5, 10, 3, 4


def median(work):
    work()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return sorted(times)[RUNS // 2]


def forward(model, batch):
    pixels = torch.full((batch, 3, 224, 224), 0.1)
    with torch.inference_mode():
        return median(lambda: model.forward_features(pixels))


def learned_step(model, batch):
    """One AdamW step on softmax logits per linear layer and the head; a layer's weight is W + sum_n w_n B_n A_n."""
    names = [name for name, module in model.blocks.named_modules() if isinstance(module, torch.nn.Linear)]
    frozen = {f"blocks.{name}.weight": model.blocks.get_submodule(name).weight.detach() for name in names}
    # timm joins query, key and value, where we have three layers of the same size in all.
    factors = {
        name: (0.02 * torch.randn(MODULES * RANK, weight.shape[1]), 0.02 * torch.randn(weight.shape[0], MODULES * RANK))
        for name, weight in frozen.items()
    }
    logits = {name: torch.zeros(MODULES, requires_grad=True) for name in frozen}
    head = torch.nn.Linear(192, CLASSES)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.AdamW([*logits.values(), *head.parameters()], lr=1e-3)
    labels = torch.arange(batch) % CLASSES
    pixels = torch.full((batch, 3, 224, 224), 0.1)

    def step():
        weights = {}
        for name, (a, b) in factors.items():
            scale = logits[name].softmax(0).repeat_interleave(RANK)
            weights[name] = frozen[name] + (b * scale) @ a
        hidden = functional_call(model, weights, (pixels,))
        loss = torch.nn.functional.cross_entropy(head(hidden), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return median(step)


def main():
    torch.manual_seed(0)
    model = timm.create_model("deit_tiny_patch16_224", num_classes=0).eval()
    for batch in (1, 8, 32):
        print(f"forward, {batch} images\t{forward(model, batch)}", flush=True)
    for batch in (8, 32):
        print(f"learned step, {batch} images\t{learned_step(model, batch)}", flush=True)


if __name__ == "__main__":
    main()
