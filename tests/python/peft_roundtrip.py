"""Runs a ViT with a LoRA adapter in Python PEFT: `peft_roundtrip.py MODEL ADAPTER INPUT OUTPUT`.

INPUT is a safetensors file with `pixel_values` [B, 3, H, W]; OUTPUT gets `logits` [B, C] and, for each
adapted module, `delta.<path>` as PEFT computes it. Fails when PEFT leaves a tensor of the file unused or a
module without one. Needs torch, transformers, peft and safetensors.
"""

import sys
import warnings

import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification


def main(model_path, adapter_path, input_path, output_path):
    # PEFT only warns about keys that it does not find or use.
    warnings.simplefilter("error", UserWarning)
    base = AutoModelForImageClassification.from_pretrained(model_path)
    model = PeftModel.from_pretrained(base, adapter_path).eval()
    tensors = {}
    for path, module in model.base_model.model.named_modules():
        if hasattr(module, "get_delta_weight"):
            tensors[f"delta.{path}"] = module.get_delta_weight("default").detach().contiguous()
    with safe_open(f"{adapter_path}/adapter_model.safetensors", "pt") as file:
        modules = sum(key.endswith((".lora_A.weight", ".lora_embedding_A")) for key in file.keys())
    assert len(tensors) == modules, f"PEFT adapts {len(tensors)} modules, the file holds {modules}"
    with torch.no_grad():
        tensors["logits"] = model(pixel_values=load_file(input_path)["pixel_values"]).logits
    save_file(tensors, output_path)


main(*sys.argv[1:])
