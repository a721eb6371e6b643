"""Texts a second in process, beside other engines on the same weights, alternating in one run.

    python -m benchmarks.encoder [--data DATA] [--kind short|mixed|long] [--texts 1024]
                                 [--rounds 5] [--profiles openvino-cpu-int8,...]
                                 [--encoder FOLDER ...]

From text to code (ours) or to embedding (the others), tokenizing included, on the same threads. The
bare OpenVINO loop is tried in eight forms first and the fastest goes on. sentence-transformers runs
as it comes; the others take whole texts up to the model's 512 tokens, as ours does, while it cuts
at its own 256.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path

from app.settings import DEFAULT_ENCODER
from benchmarks import peers
from benchmarks.machine import print_result, spread
from benchmarks.texts import texts_of
from models.bulk import encode_texts
from models.loading import load_encoder, load_profile, offers_of
from models.packing import partition
from models.profiles import choose_profile, runnable_profiles, this_machine
from models.source import open_source

BARE = "bare OpenVINO int8"
SENTENCE_TRANSFORMERS = "sentence-transformers"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--kind", choices=("short", "mixed", "long"), default="short")
    parser.add_argument("--texts", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--profiles", default="", help="more of ours; `all` for every one here")
    parser.add_argument("--encoder", nargs="*", default=[], help="other artifacts of ours")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    texts = texts_of(arguments.kind, arguments.texts, arguments.data)
    ours, runners = our_runners(arguments.profiles, arguments.threads)
    for folder in arguments.encoder:
        runners |= chosen_runner(folder, arguments.threads)
    print(json.dumps(shape_of(texts)), flush=True)
    if arguments.peers:
        calibration = texts_of("short", 300, arguments.data)
        runners |= peer_runners(arguments.threads, calibration, texts)
    for runner in runners.values():
        runner(texts[:64])
    rates: dict[str, list[float]] = {name: [] for name in runners}
    names = list(runners)
    for number in range(arguments.rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            rates[name].append(rate(runners[name], texts))
            print(json.dumps({"round": number, name: round(rates[name][-1], 1)}), flush=True)
    print_result(
        "encoder",
        {
            "kind": arguments.kind,
            "texts": len(texts),
            "threads": arguments.threads,
            "ours": ours,
            "texts_per_second": {name: spread(values, 1) for name, values in rates.items()},
            "ours_as_a_multiple": {
                name: spread([a / b for a, b in zip(rates[ours], values, strict=True)], 2)
                for name, values in rates.items()
                if name != ours
            },
        },
    )


def our_runners(more: str, threads: int) -> tuple[str, dict[str, peers.Runner]]:
    """The profile that the service would choose, and others by name."""
    source, machine = open_source(DEFAULT_ENCODER), this_machine()
    offers = offers_of(source)
    chosen = choose_profile(machine, offers, device="cpu")
    wanted = {chosen.name, *filter(None, more.split(","))}
    runners: dict[str, peers.Runner] = {}
    for profile in runnable_profiles(machine, offers):
        if profile.name in wanted or "all" in wanted:
            encoder = load_profile(source, profile, threads)
            encoder.warm_up()
            runners[profile.name] = partial(encode_texts, encoder)
    return chosen.name, runners


def chosen_runner(folder: str, threads: int) -> dict[str, peers.Runner]:
    """Another encoder in the profile that the service would choose for it, by both names."""
    encoder = load_encoder(folder, device="cpu", threads=threads)
    encoder.warm_up()
    return {f"{encoder.info.name} {encoder.info.profile}": partial(encode_texts, encoder)}


def peer_runners(threads: int, calibration: list[str], texts: list[str]) -> dict[str, peers.Runner]:
    """Those that are installed; of the bare OpenVINO loop the form that is fastest here."""
    runners = {}
    if peers.installed("nncf") and peers.installed("torch"):
        forms = peers.bare_openvino_int8(threads, calibration)
        for runner in forms.values():
            runner(texts)  # every shape once: its kernels are made at the first meeting
        speeds = {name: max(rate(run, texts) for _ in range(2)) for name, run in forms.items()}
        best = max(speeds, key=lambda name: speeds[name])
        print(json.dumps({BARE: {name: round(speed, 1) for name, speed in speeds.items()}}))
        runners[f"{BARE} ({best})"] = forms[best]
    if peers.installed("sentence_transformers"):
        runners[SENTENCE_TRANSFORMERS] = peers.sentence_transformers(threads)
    if peers.installed("onnxruntime") and peers.installed("onnx"):
        runners |= peers.onnxruntime(threads)
    return runners


def rate(runner: peers.Runner, texts: list[str]) -> float:
    """Texts a second of one pass over all texts."""
    started = time.perf_counter()
    runner(texts)
    return len(texts) / (time.perf_counter() - started)


def shape_of(texts: list[str]) -> dict[str, float]:
    """Tokens a text, and the share of padding that our packing leaves."""
    encoder = load_encoder(DEFAULT_ENCODER, device="cpu")
    lengths = [len(ids) for tokens in encoder.tokenize(texts) for ids in tokens.windows]
    batches = list(partition(lengths, encoder.batching))
    padded = sum(
        encoder.batching.tokens(len(chosen), sum(lengths[i] for i in chosen), width)
        for chosen, width in batches
    )
    return {
        "texts": len(texts),
        "mean_tokens": round(sum(lengths) / len(lengths), 1),
        "batches": len(batches),
        "padding_share": round(1 - sum(lengths) / padded, 4),
    }


if __name__ == "__main__":
    main()
