"""Writes tests/golden/adapters: tiny PEFT adapters and the updates that PEFT computes from them.

Needs torch, transformers >= 5.9, peft and safetensors. Run it in this folder: `python make_adapters.py`.
The ViT adapters are written as transformers names them now and, renamed, as it did before 5.9.
`deltas.safetensors` holds PEFT's `get_delta_weight` per adapter and module, `<adapter>/<block>.<target>`
for ViTs and `<adapter>/<module path>` for GPT-2 (whose weights are transposed).
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, ViTConfig, ViTForImageClassification

OUT = Path(__file__).parent / "adapters"
OLD = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "o_proj": "proj", "fc1": "fc1", "fc2": "fc2"}
OLD_PATHS = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
    "layers.": "encoder.layer.",
}
OLD_TARGETS = {
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "o_proj": "attention.output.dense",
    "fc1": "intermediate.dense",
    # A bare `output.dense` would also match `attention.output.dense`.
    "fc2": r"output.dense",
}
ALL = list(OLD)
VIT = {
    "qv": dict(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"]),
    "qv-other": dict(r=3, lora_alpha=2, target_modules=["q_proj", "v_proj"]),
    "all-head": dict(r=3, lora_alpha=6, target_modules=ALL, modules_to_save=["classifier"]),
    "patterns": dict(
        r=2,
        lora_alpha=2,
        target_modules=ALL,
        rank_pattern={"q_proj": 3, "layers.1.mlp.fc1": 4},
        alpha_pattern={"v_proj": 7, r"layers\.1\..*k_proj": 5},
    ),
    "rslora": dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], use_rslora=True, rank_pattern={"v_proj": 2}),
    "one-block": dict(r=2, lora_alpha=3, target_modules=["k_proj", "o_proj"], layers_to_transform=[1]),
    "half": dict(r=2, lora_alpha=4, target_modules=["q_proj"]),
    "bfloat": dict(r=2, lora_alpha=4, target_modules=["q_proj"]),
}
DTYPES = {"half": torch.float16, "bfloat": torch.bfloat16}


def vit():
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=8, patch_size=4, num_labels=3
    )
    return ViTForImageClassification(config)


def gpt2():
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=10, n_positions=4, n_embd=8, n_layer=2, n_head=2, tie_word_embeddings=False))


def renamed(text, names):
    for new, old in names.items():
        text = text.replace(new, old)
    return text


def save(name, model):
    """Keeps the two files, with a stable order where PEFT saves a set, and no path of this machine."""
    folder = OUT / name
    with tempfile.TemporaryDirectory() as temporary:
        model.save_pretrained(temporary)
        folder.mkdir(parents=True)
        config = json.loads((Path(temporary) / "adapter_config.json").read_text())
        config["target_modules"].sort()
        config["base_model_name_or_path"] = "tiny"
        write_config(folder, config)
        shutil.copyfile(Path(temporary) / "adapter_model.safetensors", folder / "adapter_model.safetensors")
    return config, load_file(folder / "adapter_model.safetensors")


def write_config(folder, config):
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def save_old(name, config, tensors):
    folder = OUT / f"{name}--old"
    folder.mkdir(parents=True)
    pattern_names = {key.replace(".", r"\."): value.replace(".", r"\.") for key, value in OLD_PATHS.items()}
    for field in ["rank_pattern", "alpha_pattern"]:
        config[field] = {
            renamed(renamed(renamed(key, OLD_PATHS), pattern_names), OLD_TARGETS): value for key, value in config[field].items()
        }
    config["target_modules"] = sorted(OLD_TARGETS[target] for target in config["target_modules"])
    write_config(folder, config)
    tensors = {renamed(key, OLD_PATHS): value for key, value in tensors.items()}
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})


def lora_layers(model):
    return [(path, module) for path, module in model.base_model.model.named_modules() if hasattr(module, "get_delta_weight")]


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    deltas = {}
    vit().save_pretrained(OUT / "tiny-vit")
    for seed, (name, options) in enumerate(VIT.items()):
        torch.manual_seed(seed + 1)
        model = get_peft_model(vit(), LoraConfig(init_lora_weights=False, **options), autocast_adapter_dtype=False)
        if name in DTYPES:
            model = model.to(DTYPES[name])
        save_old(name, *save(name, model))
        for path, module in lora_layers(model.float()):
            _, _, block, _, layer = path.split(".")
            deltas[f"{name}/{block}.{OLD[layer]}"] = module.get_delta_weight("default").detach().contiguous()
    for seed, rank in enumerate([2, 3]):
        torch.manual_seed(seed + 100)
        options = dict(r=rank, lora_alpha=4, fan_in_fan_out=True, rank_pattern={"wte": 1})
        options["target_modules"] = ["c_attn", "wte"] if seed == 0 else ["c_attn", "c_fc"]
        name = f"gpt2-{seed}"
        model = get_peft_model(gpt2(), LoraConfig(init_lora_weights=False, task_type="CAUSAL_LM", **options))
        save(name, model)
        for path, module in lora_layers(model):
            deltas[f"{name}/{path}"] = module.get_delta_weight("default").detach().contiguous()
    save_file(deltas, OUT / "deltas.safetensors")


main()
