#!/usr/bin/env python3
"""Golden values of the metrics in frontend/std/metrics.cyg, by the definitions of scikit-learn.

Prints the inputs (from a fixed seed) and the expected values as JSON:

    python3 tests/golden/metrics.py > tests/golden/metrics.json

Needs numpy. The names in comments are those of sklearn.metrics; `labels=range(classes)` and
`zero_division=0` are meant throughout.
"""

import json

import numpy as np

SAMPLES, CLASSES, OUTPUTS = 23, 5, 3


def ratio(part, whole):
    """part / whole, 0 where whole is 0 (zero_division=0)."""
    return np.divide(part, whole, out=np.zeros_like(part, dtype=float), where=whole != 0)


def averages(score, hits, found, actual):
    """The options of `average`."""
    each = score(hits, found, actual)
    total = [np.array([counts.sum()], dtype=float) for counts in (hits, found, actual)]
    return {
        "macro": each.mean(),
        "micro": score(*total)[0],
        "weighted": (each * actual).sum() / actual.sum(),
        "per_class": each.tolist(),
    }


SCORES = {
    "precision": lambda hits, found, actual: ratio(hits, found),
    "recall": lambda hits, found, actual: ratio(hits, actual),
    "f1": lambda hits, found, actual: ratio(2 * hits, found + actual),
    "iou": lambda hits, found, actual: ratio(hits, found + actual - hits),  # jaccard_score
}


def counts_of(found, label, classes):
    """Of each class: hits, how often it is found, how often it is right."""
    each = range(classes)
    hits = np.array([np.sum((found == k) & (label == k)) for k in each], dtype=float)
    return hits, *(np.array([np.sum(x == k) for k in each], dtype=float) for x in (found, label))


def main():
    random = np.random.default_rng(7)
    single = lambda values: values.astype(np.float32).astype(np.float64)
    # Class 3 is found but never right, class 4 is neither. Wrong in about a third of all cases.
    label = random.integers(0, 3, SAMPLES)
    logits = random.normal(size=(SAMPLES, CLASSES))
    logits[np.arange(SAMPLES), label] += 1.0
    logits[:, 4] -= 9.0
    logits = single(logits)
    found = logits.argmax(axis=1)
    expected = {"accuracy": np.mean(found == label)}  # accuracy_score
    own = logits[np.arange(SAMPLES), label]
    rank = np.sum(logits > own[:, None], axis=1)
    expected["top_2"] = np.mean(rank < 2)  # top_k_accuracy_score, without ties
    counts = counts_of(found, label, CLASSES)
    for name, score in SCORES.items():
        for average, value in averages(score, *counts).items():
            expected[f"{name}_{average}"] = value
    confusion = np.zeros((CLASSES, CLASSES), dtype=int)  # confusion_matrix
    np.add.at(confusion, (label, found), 1)
    expected["confusion"] = confusion.tolist()
    losses = np.log(np.exp(logits).sum(axis=1)) - own
    expected["loss"] = losses.mean()  # log_loss
    expected["perplexity"] = np.exp(losses.mean())

    # Outputs far from 0, where E[y^2] - E[y]^2 would lose digits; the last one is constant.
    target = single(1000 + random.normal(size=(SAMPLES, OUTPUTS)))
    target[:, 2] = 1000.0
    prediction = single(target + 0.5 * random.normal(size=(SAMPLES, OUTPUTS)))
    distance = prediction - target
    expected["mae"] = np.abs(distance).mean()  # mean_absolute_error
    expected["rmse"] = np.sqrt((distance**2).mean())
    spread = ((target - target.mean(axis=0)) ** 2).sum(axis=0)
    error = (distance**2).sum(axis=0)
    # r2_score with force_finite=True: a constant output gives 1 if it is met and 0 if not.
    per_output = [1 - e / s if s > 0 else float(e == 0) for e, s in zip(error, spread)]
    expected["r2"] = np.mean(per_output)

    score = single(random.normal(size=SAMPLES))
    truth = (score + random.normal(size=SAMPLES) > 0).astype(int)
    guess = (score > 0).astype(int)
    hits, guessed, right = counts_of(guess, truth, 2)
    for name in ("precision", "recall", "f1"):
        expected[f"positive_{name}"] = SCORES[name](hits, guessed, right)[1]  # average="binary"

    image = single(random.normal(size=(SAMPLES, 3, 2, 2)))
    mask = random.integers(0, 3, (SAMPLES, 2, 2))
    pixels = counts_of(image.argmax(axis=1), mask, 3)
    expected["mask_iou"] = SCORES["iou"](*pixels).tolist()
    expected["mask_dice"] = SCORES["f1"](*pixels).mean()

    inputs = {
        "logits": logits, "label": label, "prediction": prediction, "target": target,
        "score": score, "truth": truth, "image": image, "mask": mask,
    }
    flat = {name: {"shape": x.shape, "values": x.ravel().tolist()} for name, x in inputs.items()}
    print(json.dumps({"inputs": flat, "expected": expected}))


main()
