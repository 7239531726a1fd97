"""Model `llama` against Hugging Face's `transformers`: logits on the same weights, and folders in both directions.

Needs the Python packages transformers, torch and safetensors, which `bash tests/run.sh --transformers` gets from the Python index.

  llama_transformers.py [--build DIR] [--folder DIR]

  --build DIR   where this repository is built (build/release)
  --folder DIR  also the model of this folder, of any size, as deploy/smollm2/prepare.py makes one
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import safetensors.torch
    import torch
    import transformers
except ImportError as error:
    print(f"skipped: {error}; needs the Python packages transformers, torch and safetensors")
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "deploy"), str(pathlib.Path(__file__).resolve().parent)]

import federation  # noqa: E402
import llama_reference  # noqa: E402

TOLERANCE = 1e-4
CONTEXT = 96


def config_of(model, **more):
    return transformers.LlamaConfig(**model, max_position_embeddings=512, attn_implementation="eager", **more)


def logits_of(model, tokens):
    """[position][vocab_size], fp32."""
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0].float()


def loaded(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").float().eval()


def tool(build, *arguments):
    result = subprocess.run([str(build / "bin" / "tributary"), *map(str, arguments)], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"tributary {arguments[0]} failed: {result.stderr}")
    return result.stdout


def compare(build, folder, weights, tokens, work):
    """Logits of the weights here, and of the folder there."""
    model = loaded(folder)
    expected = logits_of(model, tokens)
    config = model.config
    theta = config.rope_parameters["rope_theta"] if getattr(config, "rope_parameters", None) else config.rope_theta
    keys = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
            "rms_norm_eps", "tie_word_embeddings")
    spec = {**{key: getattr(config, key) for key in keys}, "rope_theta": theta,
            "head_dim": getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads}
    positions = sorted({0, 1, len(tokens) // 3, len(tokens) - 1})
    vectors = work / "vectors.json"
    vectors.write_text(json.dumps({"cases": [{
        "model": spec, "weights": str(weights), "tokens": tokens, "positions": positions,
        "logits": [expected[position].tolist() for position in positions]}]}), encoding="utf-8")
    result = subprocess.run([str(build / "tests" / "llama_golden_test")], env={**os.environ, "TRIBUTARY_LLAMA_VECTORS": str(vectors)},
                            capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{folder}: the logits differ\n{result.stdout}")
    print(f"{folder.name}: " + next(line for line in result.stdout.splitlines() if "furthest" in line))


def check_reference():
    for case in llama_reference.CASES:
        model = transformers.LlamaForCausalLM(config_of(case)).eval()
        weights = {name: torch.tensor(value, dtype=torch.float32) for name, value in llama_reference.weights(case).items()}
        missing, unexpected = model.load_state_dict(weights, strict=False)
        assert set(missing) <= {"lm_head.weight"} and not unexpected, (missing, unexpected)
        model.tie_weights()
        tokens = llama_reference.tokens(case)
        expected = torch.tensor(llama_reference.logits(case, llama_reference.weights(case), tokens))
        furthest = (logits_of(model, tokens) - expected).abs().max().item()
        assert furthest < TOLERANCE, furthest
        print(f"the reference: furthest from transformers: {furthest:.2g}")


def check_import(build, work):
    """A model with random weights, in shards of bf16."""
    torch.manual_seed(1)
    model = transformers.LlamaForCausalLM(config_of(
        {**llama_reference.CASES[0], "vocab_size": 300, "hidden_size": 96, "num_hidden_layers": 3}, initializer_range=0.2))
    folder, weights = work / "sharded", work / "sharded.safetensors"
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="50KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    tool(build, "model", "from-huggingface", folder, "--output", weights)
    ours = safetensors.torch.load_file(weights)
    for name, tensor in model.state_dict().items():
        assert torch.equal(ours[name], tensor.float()), name
    compare(build, folder, weights, [(7 * i * i + i) % 300 for i in range(CONTEXT)], work)


def check_export(build, work):
    """A run of two rounds, exported."""
    folder = work / "exported"
    with federation.Federation(work / "federation", build / "bin", ["alpha"]) as parties:
        parties.make_pki()
        parties.write_coordinator_config()
        parties.start_coordinator()
        parties.write_operator_config()
        data = parties.directory / "data"
        data.mkdir()
        (data / "text.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 100, encoding="utf-8")
        parties.write_worker_config("alpha", data, consent={"models": ["llama"]})
        parties.start_worker("alpha")
        parties.submit(parties.write_yaml("run.yaml", {
            "name": "run", "rounds": 2, "data": {"kind": "text", "batch_size": 4},
            "model": {"llama": {"vocab_size": 256, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2,
                                "num_attention_heads": 6, "num_key_value_heads": 2, "rope_theta": 5000, "context": CONTEXT}},
            "optimizer": {"mode": "distro", "learning_rate": {"peak": 0.01}},
        }))
        parties.wait_for_end("run", timeout=120)
        parties.operator("export", "run", "--huggingface", folder)
        parties.operator("export", "run", "--output", work / "exported.safetensors")
    compare(build, folder, work / "exported.safetensors", [32 + i % 90 for i in range(CONTEXT)], work)


def check_folder(build, folder, work):
    weights = work / "folder.safetensors"
    tool(build, "model", "from-huggingface", folder, "--output", weights)
    vocabulary = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    compare(build, folder, weights, [(7 * i * i + 13 * i) % vocabulary for i in range(CONTEXT)], work)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release", metavar="DIR")
    parser.add_argument("--folder", type=pathlib.Path, metavar="DIR")
    arguments = parser.parse_args()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    check_reference()
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        check_import(arguments.build, work)
        check_export(arguments.build, work)
        if arguments.folder:
            check_folder(arguments.build, arguments.folder.resolve(), work)


if __name__ == "__main__":
    main()
