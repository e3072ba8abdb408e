#!/usr/bin/env python3
"""Holds the workloads in this folder against reference values.

    python reference.py ARRAYS_DIR [--binary target/release/cygnet] [--speed] [NAME...]

ARRAYS_DIR holds NAME.npz with the parameters (`param.PATH`) and inputs (`data.NAME`) of each
workload. The values expected are losses of the first three training steps, each before its
update, or mean |output|, as PyTorch and JAX compute them. With --speed each workload is also timed,
and the stages of its compilation and its planned memory are printed. Needs numpy and safetensors.
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
    "rnn": ("train", [2.275374, 2.157696, 2.076125]),
    "lstm": ("train", [4.177722, 4.169309, 4.160959]),
    "bert_mini_finetune": ("train", [0.674987, 0.658312, 0.642515]),
    "resnet18_cifar": ("train", [2.317309, 2.015614, 1.606833]),
    "conv_autoencoder": ("train", [0.086206, 0.086185, 0.086163]),
    "dcgan": ("train", [2.581020, 1.763351, 1.241358]),
    "mlp_b1": ("infer", [0.059205]),
    "lstm_b1": ("infer", [0.311645]),
    "resnet18_224_b1": ("infer", [30.121742]),
    "vgg16_224_b1": ("infer", [3.014848]),
    "bert_base_s128_b1": ("infer", [0.798585]),
    "ln_gelu": ("infer", [0.789513]),
}
LIMIT = 1e-5

# Losses on which rounding has had time to work: the generator's and the discriminator's steps answer
# each other; and where inputs and weights of resnet18_cifar differ in their last bits, its losses after one and
# two steps differ by up to 1.2e-5 and 3e-5 in strict arithmetic, too.
WIDER = {("dcgan", 2): 1e-4, ("resnet18_cifar", 1): 2e-5, ("resnet18_cifar", 2): 5e-5}

# Reference values are without dropout.
SETTINGS = {"cnn": ["--set", "p=0", "--set", "q=0"]}


def run(binary, program, mode, arrays, options):
    """What `cygnet bench` reports for these arrays."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        weights = {key.removeprefix("param."): np.ascontiguousarray(arrays[key])
                   for key in arrays.files if key.startswith("param.")}
        save_file(weights, folder / "weights.safetensors")
        command = [binary, "bench", program, "--mode", mode, "--json",
                   "--weights", folder / "weights.safetensors", *options]
        for key in arrays.files:
            if key.startswith("data."):
                field = key.removeprefix("data.")
                np.save(folder / f"{field}.npy", arrays[key])
                command += ["--input", f"{field}={folder / field}.npy"]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return None, done.stderr.strip()
    return json.loads(done.stdout.splitlines()[-1]), ""


def agrees(name, differences):
    """Whether all values are within their limits (no comparison with NaN holds)."""
    return all(difference <= WIDER.get((name, index), LIMIT)
               for index, difference in enumerate(differences))


def speed(report):
    """Times and memory of a report, on one line."""
    stages = ", ".join(f"{stage} {ms:.0f}" for stage, ms in report["stages_ms"].items())
    return (f"  step {report['step_ms']['median']:.3f} ms on {report['threads']} threads; "
            f"compiled in {report['compile_ms']:.0f} ms ({stages}); "
            f"{report['kernels']} kernels; {report['peak_bytes_planned'] / 2**20:.1f} MiB planned")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("arrays", type=pathlib.Path)
    arguments.add_argument("--binary", default="target/release/cygnet")
    arguments.add_argument("--speed", action="store_true", help="time the workloads too")
    arguments.add_argument("names", nargs="*")
    options = arguments.parse_intermixed_args()
    here = pathlib.Path(__file__).resolve().parent
    failed = []
    for name in options.names or EXPECTED:
        mode, expected = EXPECTED[name]
        arrays = np.load(options.arrays / f"{name}.npz")
        settings = SETTINGS.get(name, [])
        if not options.speed:
            settings = [*settings, "--seconds", "0"]
        report, problem = run(options.binary, here / f"{name}.cyg", mode, arrays, settings)
        if report is None:
            failed.append(name)
            print(f"{name}: failed\n{problem}", flush=True)
            continue
        ours = report["first_losses"] if mode == "train" else [report["checksum"]]
        differences = [abs(a - b) / abs(b) for a, b in zip(ours, expected, strict=True)]
        if not agrees(name, differences):
            failed.append(name)
        print(f"{name}: ours {' '.join(f'{value:.6f}' for value in ours)}, "
              f"reference {' '.join(f'{value:.6f}' for value in expected)}, "
              f"relative difference {' '.join(f'{value:.1e}' for value in differences)}", flush=True)
        if options.speed:
            print(speed(report), flush=True)
    if failed:
        sys.exit(f"not as expected: {', '.join(failed)}")


main()
