#!/usr/bin/env python3
"""Holds the workloads in this folder against reference values.

    python reference.py ARRAYS_DIR [--binary target/release/cygnet] [NAME...]

ARRAYS_DIR holds NAME.npz with the parameters (`param.PATH`) and inputs (`data.NAME`) of each
workload. The values expected are losses of the first three training steps, each before its
update, or mean |output|, as PyTorch and JAX compute them. Needs numpy and safetensors.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import save_file

EXPECTED = {
    "mlp": ("train", [2.304575, 2.275279, 2.246802]),
    "cnn": ("train", [2.352329, 2.199260, 1.975328]),
    "conv_autoencoder": ("train", [0.086206, 0.086185, 0.086163]),
    "rnn": ("train", [2.275374, 2.157696, 2.076125]),
    "lstm": ("train", [4.177722, 4.169309, 4.160959]),
    "mlp_b1": ("infer", [0.059205]),
    "lstm_b1": ("infer", [0.311645]),
    "bert_mini_finetune": ("train", [0.674987, 0.658312, 0.642515]),
    "bert_base_s128_b1": ("infer", [0.798585]),
    "ln_gelu": ("infer", [0.789513]),
}
LIMIT = 1e-5

# Reference values are without dropout.
SETTINGS = {"cnn": ["--set", "p=0", "--set", "q=0"]}


def run(binary, program, mode, arrays, settings):
    """What `cygnet bench` reports for these arrays."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        weights = {key.removeprefix("param."): np.ascontiguousarray(arrays[key])
                   for key in arrays.files if key.startswith("param.")}
        save_file(weights, folder / "weights.safetensors")
        command = [binary, "bench", program, "--mode", mode, "--seconds", "0", "--json",
                   "--weights", folder / "weights.safetensors", *settings]
        for key in arrays.files:
            if key.startswith("data."):
                field = key.removeprefix("data.")
                np.save(folder / f"{field}.npy", arrays[key])
                command += ["--input", f"{field}={folder / field}.npy"]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    report = json.loads(done.stdout.splitlines()[-1])
    return report["first_losses"] if mode == "train" else [report["checksum"]]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("arrays", type=pathlib.Path)
    arguments.add_argument("--binary", default="target/release/cygnet")
    arguments.add_argument("names", nargs="*")
    options = arguments.parse_args()
    here = pathlib.Path(__file__).resolve().parent
    failed = False
    for name in options.names or EXPECTED:
        mode, expected = EXPECTED[name]
        arrays = np.load(options.arrays / f"{name}.npz")
        ours = run(options.binary, here / f"{name}.cyg", mode, arrays,
                   SETTINGS.get(name, []))
        difference = max(abs(a - b) / abs(b) for a, b in zip(ours, expected, strict=True))
        failed |= difference > LIMIT
        print(f"{name}: ours {ours}, reference {expected}, relative difference {difference:.1e}")
    sys.exit(failed)


main()
