#!/usr/bin/python3
"""Golden logits of the model `llama`, from its definition alone: plain loops over positions and heads in float64.

Independent of the C++ code, and compared with Hugging Face's by llama_transformers.py.

  llama_reference.py --check FILE    computes again and compares with FILE
  llama_reference.py --rewrite FILE  writes FILE
"""

import argparse
import json
import math
import sys

try:
    import numpy as np
except ImportError:
    print("skipped: needs python3-numpy")
    sys.exit(77)

# Named as in config.json. Grouped queries, heads wider than hidden_size / heads and a head of its own; and the contrary of each.
CASES = (
    {"vocab_size": 13, "hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 6,
     "num_key_value_heads": 2, "head_dim": 4, "rms_norm_eps": 1e-5, "rope_theta": 500.0, "tie_word_embeddings": False},
    {"vocab_size": 9, "hidden_size": 8, "intermediate_size": 10, "num_hidden_layers": 1, "num_attention_heads": 2,
     "num_key_value_heads": 2, "head_dim": 4, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": True},
)
LENGTH = 7


def shapes(model):
    """[(name, shape)] in the order of the parameter vector."""
    h, d = model["hidden_size"], model["head_dim"]
    queries, keys = model["num_attention_heads"] * d, model["num_key_value_heads"] * d
    named = [("model.embed_tokens.weight", (model["vocab_size"], h))]
    for i in range(model["num_hidden_layers"]):
        named += [(f"model.layers.{i}.{name}.weight", shape) for name, shape in (
            ("self_attn.q_proj", (queries, h)), ("self_attn.k_proj", (keys, h)), ("self_attn.v_proj", (keys, h)),
            ("self_attn.o_proj", (h, queries)), ("mlp.gate_proj", (model["intermediate_size"], h)),
            ("mlp.up_proj", (model["intermediate_size"], h)), ("mlp.down_proj", (h, model["intermediate_size"])),
            ("input_layernorm", (h,)), ("post_attention_layernorm", (h,)))]
    named.append(("model.norm.weight", (h,)))
    if not model["tie_word_embeddings"]:
        named.append(("lm_head.weight", (model["vocab_size"], h)))
    return named


def spread(index):
    """A number in [-.5, .5) of 24 bits, exact in float32, for the place `index` of the parameter vector."""
    x = index * 2654435761 & 0xffffffff
    x ^= x >> 15
    x = x * 2246822519 & 0xffffffff
    x ^= x >> 13
    return (x >> 8) / 2**24 - 0.5


def weights(model):
    """{name: array}."""
    made, start = {}, 0
    for name, shape in shapes(model):
        size = math.prod(shape)
        values = np.array([spread(start + i) for i in range(size)])
        made[name] = (values + 1 if len(shape) == 1 else values).reshape(shape)
        start += size
    return made


def tokens(model):
    return [(5 * i * i + 3 * i + 1) % model["vocab_size"] for i in range(LENGTH)]


def norm(x, weight, epsilon):
    return x / math.sqrt((x * x).mean() + epsilon) * weight


def rotated(head, position, theta):
    """Turns the pair (head[i], head[i + d/2]) by position / theta^(2i/d)."""
    half = len(head) // 2
    turned = head.copy()
    for i in range(half):
        angle = position / theta ** (2 * i / len(head))
        turned[i] = head[i] * math.cos(angle) - head[i + half] * math.sin(angle)
        turned[i + half] = head[i + half] * math.cos(angle) + head[i] * math.sin(angle)
    return turned


def attention(model, w, layer, read):
    """What position t takes from those up to it; read: their normed inputs."""
    d, heads = model["head_dim"], model["num_attention_heads"]
    group = heads // model["num_key_value_heads"]
    q, k, v = ([w[f"{layer}.self_attn.{name}_proj.weight"] @ x for x in read] for name in "qkv")
    mixed = []
    for t in range(len(read)):
        parts = []
        for head in range(heads):
            mine, shared = slice(head * d, (head + 1) * d), slice(head // group * d, (head // group + 1) * d)
            query = rotated(q[t][mine], t, model["rope_theta"])
            scores = [math.exp(query @ rotated(k[s][shared], s, model["rope_theta"]) / math.sqrt(d)) for s in range(t + 1)]
            parts.append(sum(score * v[s][shared] for s, score in enumerate(scores)) / sum(scores))
        mixed.append(w[f"{layer}.self_attn.o_proj.weight"] @ np.concatenate(parts))
    return mixed


def logits(model, w, ids):
    """[position][vocab_size]"""
    epsilon = model["rms_norm_eps"]
    x = [w["model.embed_tokens.weight"][token] for token in ids]
    for i in range(model["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        read = [norm(position, w[f"{layer}.input_layernorm.weight"], epsilon) for position in x]
        x = [position + taken for position, taken in zip(x, attention(model, w, layer, read))]
        for t, position in enumerate(x):
            read = norm(position, w[f"{layer}.post_attention_layernorm.weight"], epsilon)
            gate, up = (w[f"{layer}.mlp.{name}_proj.weight"] @ read for name in ("gate", "up"))
            x[t] = position + w[f"{layer}.mlp.down_proj.weight"] @ (gate / (1 + np.exp(-gate)) * up)
    head = w["model.embed_tokens.weight" if model["tie_word_embeddings"] else "lm_head.weight"]
    return [head @ norm(position, w["model.norm.weight"], epsilon) for position in x]


def vectors():
    return {"cases": [{"model": model, "tokens": tokens(model), "positions": list(range(LENGTH)),
                       "logits": [[round(float(value), 9) for value in row] for row in logits(model, weights(model), tokens(model))]}
                      for model in CASES]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", metavar="FILE")
    parser.add_argument("--rewrite", metavar="FILE")
    arguments = parser.parse_args()
    if arguments.rewrite:
        with open(arguments.rewrite, "w", encoding="utf-8") as file:
            json.dump(vectors(), file, indent=1)
            file.write("\n")
    if arguments.check:
        with open(arguments.check, encoding="utf-8") as file:
            stored = json.load(file)
        for case, fresh in zip(stored["cases"], vectors()["cases"], strict=True):
            if {**case, "logits": None} != {**fresh, "logits": None} or not np.allclose(case["logits"], fresh["logits"], rtol=0, atol=1e-8):
                print(f"{arguments.check}: a case is not what the reference gives; see --rewrite", file=sys.stderr)
                return 1
        print(f"{len(stored['cases'])} cases agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
