"""Has llama.cpp load what Vernier writes, and the other way. By hand: CI has no llama.cpp.

    llama_cpp.py BIN TEXT MODEL... [--vernier build/vernier]

BIN: a folder with llama-perplexity, llama-quantize and llama-imatrix. TEXT: to score, at least 17 pieces of 256 tokens.
MODEL: float checkpoints. Every block type is written of each model, whole and in parts; llama-perplexity scores both,
and `vernier eval --protocol llamacpp` the file. Where rows are not whole blocks of a type, those weights stay floats; a
type whose blocks are wider than the model is left out. Then imatrix files: Vernier's to llama-quantize,
llama-imatrix's to Vernier.
Exits 1 where something does not load or the perplexities differ by more than 0.5 % (llama.cpp rounds the activations).
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

BLOCKS = {"q4_0": 32, "q4_1": 32, "q5_0": 32, "q5_1": 32, "q8_0": 32, "iq4_nl": 32, "mxfp4": 32, "q2_k": 256,
          "q3_k": 256, "q4_k": 256, "q5_k": 256, "q6_k": 256, "iq4_xs": 256, "tq1_0": 256, "tq2_0": 256}
PIECE, PIECES = 256, 16


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout + done.stderr


class Race:
    def __init__(self, options, work):
        self.options, self.work, self.failed = options, pathlib.Path(work), False
        # llama.cpp scores "\r" as a token of its own; Vernier reads text as Python does.
        self.text = self.work / "text.txt"
        self.text.write_text(pathlib.Path(options.text).read_text(encoding="utf-8"), encoding="utf-8", newline="\n")

    def theirs(self, path):
        # One piece more than is read: what llama-perplexity prints last can be lost when it ends.
        text = run(f"{self.options.bin}/llama-perplexity", "-m", path, "-f", self.text, "-c", PIECE, "-b", PIECE, "--chunks",
                   PIECES + 1, "-t", 2)
        if found := re.search(rf"\[{PIECES}\]([0-9.]+),", text):
            return float(found[1])
        sys.exit(f"{path}: llama-perplexity gives no estimate:\n{text[-1500:]}")

    def ours(self, path):
        tokens = PIECE * PIECES
        text = run(self.options.vernier, "eval", path, "--protocol", "llamacpp", "--text", self.text, "--ctx",
                   PIECE, "--tokens", tokens, "--json", "--quiet")
        return json.loads(text)["perplexity"]

    def write(self, model, kind, name, *more):
        """None where the blocks are wider than the model."""
        out = self.work / name
        config = json.loads((pathlib.Path(model) / "config.json").read_text())
        block, hidden, wide = BLOCKS[kind], config["hidden_size"], config["intermediate_size"]
        if hidden % block:
            return None
        search = "" if kind == "q8_0" else ", range: search"
        recipe = f"name: {kind}\nsummary: one block type\nweights: {{format: {kind}{search}}}\nsolver: rtn\n"
        if wide % block:
            recipe += 'overrides:\n  - match: "*down_proj.weight"\n    weights: {bits: 16}\n'
        (self.work / "recipe.yaml").write_text(recipe)
        run(self.options.vernier, "quantize", model, "-o", out, "--container", "gguf", "--recipe", self.work / "recipe.yaml",
            "--quiet", *more)
        return sorted(out.glob("*.gguf"))[0]

    def types(self, model):
        name = pathlib.Path(model).name
        for kind in BLOCKS:
            whole = self.write(model, kind, f"{name}-{kind}")
            if not whole:
                continue
            parts = self.write(model, kind, f"{name}-{kind}-split", "--max-shard", "300K" if "260k" in name else "1M")
            a, split, b = self.theirs(whole), self.theirs(parts), self.ours(whole)
            good = abs(a / b - 1) <= 0.005 and split == a and "-of-" in parts.name
            self.failed |= not good
            count = len(list(parts.parent.glob("*.gguf")))
            print(f"{name} {kind}: llama.cpp {a}, in {count} parts {split}, vernier {b:.4f} "
                  f"({100 * (a / b - 1):+.2f} %)" + ("" if good else "  FAILED"), flush=True)

    def imatrix(self, model):
        vernier, bins, work = self.options.vernier, self.options.bin, self.work
        name = pathlib.Path(model).name
        run(vernier, "convert", model, "-o", work / f"{name}-floats", "--container", "gguf")
        floats = work / f"{name}-floats" / "model.gguf"
        for kind in ("gguf", "dat"):
            run(vernier, "imatrix", model, "-o", ours := work / f"{name}-ours.{kind}", "--calib", self.text, "--samples",
                16, "--ctx", PIECE, "--format", kind, "--quiet")
            out = run(f"{bins}/llama-quantize", "--imatrix", ours, floats, work / "theirs.gguf", "Q4_K_M", 2)
            used = re.search(r"loaded (\d+) importance matrix entries", out)
            print(f"{name}: llama-quantize takes our {kind} imatrix, {used[1] if used else '?'} entries", flush=True)
            self.failed |= not used
        for kind in ("gguf", "dat"):
            theirs = work / f"{name}-theirs.{kind}"
            run(f"{bins}/llama-imatrix", "-m", floats, "-f", self.text, "-o", theirs, "--output-format", kind, "-c", PIECE,
                "--chunks", PIECES, "-t", 2)
            ours = self.write(model, "q4_0", f"{name}-theirs-{kind}", "--imatrix", theirs)
            print(f"{name} q4_0: vernier takes llama-imatrix's {kind}; perplexity {self.ours(ours):.4f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin")
    parser.add_argument("text")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--vernier", default="build/vernier")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        race = Race(options, work)
        for model in options.models:
            race.types(model)
            race.imatrix(model)
    sys.exit(race.failed)


main()
