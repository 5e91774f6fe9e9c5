"""Writes the ONNX file of a ViT checkpoint in the Hugging Face layout, for the comparison in bench.js.

    pip install onnx safetensors numpy
    python tests/page/vit_to_onnx.py www/models/base base.onnx

The graph is built by hand from the weights: nothing is downloaded and no framework is needed.
"""
import json
import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save
from safetensors.numpy import load_file


class Graph:
    """Nodes and weights, with one name per value."""

    def __init__(self):
        self.nodes, self.weights, self.count = [], [], 0

    def weight(self, value, dtype=np.float32):
        self.count += 1
        name = f"w{self.count}"
        self.weights.append(numpy_helper.from_array(np.array(value, dtype, order="C"), name))
        return name

    def add(self, kind, *inputs, **attributes):
        self.count += 1
        name = f"v{self.count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def linear(self, value, tensors, name):
        product = self.add("MatMul", value, self.weight(tensors[f"{name}.weight"].T))
        return self.add("Add", product, self.weight(tensors[f"{name}.bias"]))

    def norm(self, value, tensors, name, epsilon):
        scale, bias = (self.weight(tensors[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self.add("LayerNormalization", value, scale, bias, axis=-1, epsilon=epsilon)


def embed(graph, tensors, config):
    dim, patch = config["hidden_size"], config["patch_size"]
    prefix = "vit.embeddings"
    weight = graph.weight(tensors[f"{prefix}.patch_embeddings.projection.weight"])
    bias = graph.weight(tensors[f"{prefix}.patch_embeddings.projection.bias"])
    patches = graph.add("Conv", "pixel_values", weight, bias, strides=[patch, patch])
    flat = graph.add("Reshape", patches, graph.weight([0, dim, -1], np.int64))
    tokens = graph.add("Transpose", flat, perm=[0, 2, 1])  # [B, T - 1, D]
    batch = graph.add("Slice", graph.add("Shape", tokens), graph.weight([0], np.int64), graph.weight([1], np.int64))
    shape = graph.add("Concat", batch, graph.weight([1, dim], np.int64), axis=0)
    cls = graph.add("Expand", graph.weight(tensors[f"{prefix}.cls_token"]), shape)
    joined = graph.add("Concat", cls, tokens, axis=1)
    return graph.add("Add", joined, graph.weight(tensors[f"{prefix}.position_embeddings"]))


def attention(graph, value, tensors, prefix, config):
    dim, heads = config["hidden_size"], config["num_attention_heads"]
    split = graph.weight([0, 0, heads, dim // heads], np.int64)

    def part(name, perm):
        linear = graph.linear(value, tensors, f"{prefix}.attention.attention.{name}")
        return graph.add("Transpose", graph.add("Reshape", linear, split), perm=perm)

    query, key, values = part("query", [0, 2, 1, 3]), part("key", [0, 2, 3, 1]), part("value", [0, 2, 1, 3])
    scaled = graph.add("Mul", query, graph.weight((dim // heads) ** -0.5))
    shares = graph.add("Softmax", graph.add("MatMul", scaled, key), axis=-1)
    mixed = graph.add("Transpose", graph.add("MatMul", shares, values), perm=[0, 2, 1, 3])
    joined = graph.add("Reshape", mixed, graph.weight([0, 0, dim], np.int64))
    return graph.linear(joined, tensors, f"{prefix}.attention.output.dense")


def block(graph, value, tensors, layer, config):
    prefix, epsilon = f"vit.encoder.layer.{layer}", config.get("layer_norm_eps", 1e-12)
    normed = graph.norm(value, tensors, f"{prefix}.layernorm_before", epsilon)
    value = graph.add("Add", value, attention(graph, normed, tensors, prefix, config))
    normed = graph.norm(value, tensors, f"{prefix}.layernorm_after", epsilon)
    hidden = graph.add("Gelu", graph.linear(normed, tensors, f"{prefix}.intermediate.dense"))
    return graph.add("Add", value, graph.linear(hidden, tensors, f"{prefix}.output.dense"))


def main(folder, out):
    config = json.loads((Path(folder) / "config.json").read_text())
    tensors = {name: value.astype(np.float32) for name, value in load_file(Path(folder) / "model.safetensors").items()}
    graph = Graph()
    value = embed(graph, tensors, config)
    for layer in range(config["num_hidden_layers"]):
        value = block(graph, value, tensors, layer, config)
    value = graph.norm(value, tensors, "vit.layernorm", config.get("layer_norm_eps", 1e-12))
    cls = graph.add("Gather", value, graph.weight(0, np.int64), axis=1)
    logits = graph.linear(cls, tensors, "classifier") if "classifier.weight" in tensors else cls
    side = config["image_size"]
    described = helper.make_graph(
        graph.nodes,
        "vit",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, side, side])],
        [helper.make_tensor_value_info(logits, TensorProto.FLOAT, ["batch", None])],
        graph.weights,
    )
    model = helper.make_model(described, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    checker.check_model(model)
    save(model, out)


if __name__ == "__main__":
    main(*sys.argv[1:3])
