"""Runs a ViT with a LoRA adapter in Python PEFT: `peft_roundtrip.py MODEL ADAPTER INPUT OUTPUT`.

MODEL is a folder that transformers or timm wrote; INPUT is a safetensors file with `pixel_values` [B, 3, H, W]; OUTPUT gets
`logits` [B, C]. Fails when PEFT leaves a tensor of the file unused or a
module without one. Needs torch, transformers, peft and safetensors, for a model of timm also timm.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification


def open_model(path):
    config = json.loads((Path(path) / "config.json").read_text())
    if "architecture" not in config:
        return AutoModelForImageClassification.from_pretrained(path)
    import timm

    model = timm.create_model(config["architecture"], **config["model_args"])
    model.load_state_dict(load_file(f"{path}/model.safetensors"))
    return model


def logits(model, pixels):
    out = model(pixels)
    return getattr(out, "logits", out)


def main(model_path, adapter_path, input_path, output_path):
    # PEFT only warns about keys that it does not find or use.
    warnings.simplefilter("error", UserWarning)
    model = PeftModel.from_pretrained(open_model(model_path), adapter_path).eval()
    adapted = sum(hasattr(module, "get_delta_weight") for module in model.base_model.model.modules())
    with safe_open(f"{adapter_path}/adapter_model.safetensors", "pt") as file:
        modules = sum(key.endswith((".lora_A.weight", ".lora_embedding_A")) for key in file.keys())
    assert adapted == modules, f"PEFT adapts {adapted} modules, the file holds {modules}"
    with torch.no_grad():
        save_file({"logits": logits(model, load_file(input_path)["pixel_values"])}, output_path)


main(*sys.argv[1:])
