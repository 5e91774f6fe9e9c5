"""Writes tests/golden/models: tiny random checkpoints and what transformers and timm compute with them.

Needs torch, transformers >= 5.9, timm and safetensors. Run it in this folder: `python make_models.py`.
Every `reference.safetensors` holds `pixel_values.<size>`, `last_hidden_state.<size>` and, with a head,
`logits.<size>` for the input sizes HxW in SIZES; sizes other than the model's own interpolate the
position embeddings.
"""

import json
import shutil
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    DeiTConfig,
    DeiTForImageClassification,
    DeiTForImageClassificationWithTeacher,
    Dinov2Config,
    Dinov2ForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

OUT = Path(__file__).parent / "models"
SIZES = [(32, 32), (48, 48), (24, 40)]
TINY = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8)
OLD_NAMES = {
    "vit.layers.": "vit.encoder.layer.",
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


def randomize(model):
    """Away from the initial values, where biases, position embeddings and layer scales hide mistakes."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape) * 0.15 + (parameter.data == 1).float()
    return model.eval()


@torch.no_grad()
def reference(folder, run):
    torch.manual_seed(1)
    tensors = {}
    for height, width in SIZES:
        pixels = torch.randn(2, 3, height, width)
        tensors[f"pixel_values.{height}x{width}"] = pixels
        for name, value in run(pixels).items():
            tensors[f"{name}.{height}x{width}"] = value.contiguous()
    save_file(tensors, folder / "reference.safetensors")


def hugging_face(name, model, dtype=None, rename=None):
    folder = OUT / name
    if dtype:
        model = model.to(dtype)  # The reference runs on the values that the file holds.
    model.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    if rename:
        weights = {rename_key(key, rename): value for key, value in weights.items()}
    if dtype:
        weights = {key: value.to(dtype) for key, value in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model = model.float()

    def run(pixels):
        # DINOv2 always interpolates and has no such argument.
        options = {} if model.config.model_type == "dinov2" else {"interpolate_pos_encoding": True}
        out = model(pixels, **options)
        hidden = getattr(model, model.base_model_prefix, model)(pixels, **options).last_hidden_state
        result = {"last_hidden_state": hidden}
        if hasattr(out, "logits"):
            result["logits"] = out.logits
        return result

    reference(folder, run)


def rename_key(key, names):
    for new, old in names.items():
        key = key.replace(new, old)
    return key


def timm_vit(name, architecture):
    folder = OUT / name
    folder.mkdir(parents=True)
    size = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2.0, num_classes=5)
    model = randomize(timm.create_model(architecture, dynamic_img_size=True, **size))
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    pretrained = dict(
        input_size=[3, 32, 32], interpolation="bicubic", crop_pct=0.9, crop_mode="center",
        mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], num_classes=5, first_conv="patch_embed.proj", classifier="head",
    )
    config = dict(architecture=architecture, num_classes=5, num_features=32, global_pool="token", model_args=size, pretrained_cfg=pretrained)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    # timm resizes position embeddings with antialiasing when the grid shrinks, transformers never does.
    reference(folder, lambda pixels: {"last_hidden_state": model.forward_features(pixels), "logits": model(pixels)})


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    labels = dict(num_labels=5)
    torch.manual_seed(3)
    vit = randomize(ViTForImageClassification(ViTConfig(**TINY, **labels)))
    hugging_face("vit", vit)
    hugging_face("vit-old-names", vit, rename=OLD_NAMES)
    hugging_face("vit-f16", randomize(ViTForImageClassification(ViTConfig(**TINY, **labels))), torch.float16)
    hugging_face("vit-bf16", randomize(ViTForImageClassification(ViTConfig(**TINY, **labels))), torch.bfloat16)
    hugging_face("vit-bare", randomize(ViTModel(ViTConfig(**TINY, qkv_bias=False), add_pooling_layer=False)))
    hugging_face("deit", randomize(DeiTForImageClassification(DeiTConfig(**TINY, **labels))))
    hugging_face("deit-distilled", randomize(DeiTForImageClassificationWithTeacher(DeiTConfig(**TINY, **labels))))
    dino = dict(TINY, mlp_ratio=2)
    dino.pop("intermediate_size")
    hugging_face("dinov2", randomize(Dinov2ForImageClassification(Dinov2Config(**dino, **labels))))
    hugging_face("dinov2-swiglu", randomize(Dinov2ForImageClassification(Dinov2Config(**dino, **labels, use_swiglu_ffn=True))))
    timm_vit("timm", "vit_tiny_patch16_224")
    # Its position embeddings have no row for the class token.
    timm_vit("timm-deit3", "deit3_small_patch16_224")


if __name__ == "__main__":
    main()
