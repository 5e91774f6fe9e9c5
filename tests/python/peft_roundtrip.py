"""Runs a ViT with a LoRA adapter in Python PEFT: `peft_roundtrip.py MODEL ADAPTER INPUT OUTPUT`.

MODEL is a folder that transformers or timm wrote; INPUT is a safetensors file with `pixel_values` [B, 3, H, W]; OUTPUT gets
`logits` [B, C]. Fails when the file's names are not those of the installed transformers (the old ones up to 5.8, for
DINOv2 up to 5.17), and when PEFT leaves a tensor of the file unused or a module without one. Needs torch, transformers,
peft and safetensors, for a model of timm also timm.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
import transformers
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


def adapted_paths(adapter_path):
    """Paths of the modules that the file adapts, as the model has them."""
    with safe_open(f"{adapter_path}/adapter_model.safetensors", "pt") as file:
        keys = [key.removeprefix("base_model.model.") for key in file.keys()]
    ends = (".lora_A.weight", ".lora_embedding_A")
    return {key.removesuffix(end) for key in keys for end in ends if key.endswith(end)}


def check_names(model, paths):
    """The two dialects share no path of an adapted layer, and PEFT's own message names neither."""
    absent = sorted(paths - {path for path, _ in model.named_modules()})
    assert not absent, f"transformers {transformers.__version__} has no {absent[0]}: the file is for another version of it"


def logits(model, pixels):
    out = model(pixels)
    return getattr(out, "logits", out)


def main(model_path, adapter_path, input_path, output_path):
    # PEFT only warns about keys that it does not find or use.
    warnings.simplefilter("error", UserWarning)
    base, paths = open_model(model_path), adapted_paths(adapter_path)
    check_names(base, paths)
    model = PeftModel.from_pretrained(base, adapter_path).eval()
    adapted = {path for path, module in model.base_model.model.named_modules() if hasattr(module, "get_delta_weight")}
    assert adapted == paths, f"PEFT adapts {len(adapted)} modules, the file holds {len(paths)}"
    with torch.no_grad():
        save_file({"logits": logits(model, load_file(input_path)["pixel_values"])}, output_path)


main(*sys.argv[1:])
