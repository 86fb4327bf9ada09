"""Our readers of checkpoints against Python's (safetensors, torch.load with weights_only), on damaged files.

    differential.py READ FOLDER [FILES PER FORMAT (20000)] [SEED (0)]

READ is the program of fuzz_targets/read.rs; files are written to FOLDER. scripts/differential.sh runs it. Both sides must accept
a file with the same values, or both must refuse it. Where the two formats' readers are meant to differ, OURS and THEIRS say by which
message and why; any other difference fails, and its file stays in FOLDER.
"""

import collections
import io
import json
import multiprocessing
import pathlib
import random
import re
import resource
import struct
import subprocess
import sys
import warnings
import zipfile

import safetensors
import torch

FIXTURES = pathlib.Path(__file__).parent.parent / "tests/fixtures"
SEEDS = pathlib.Path(__file__).parent / "seeds"

# What we refuse although Python reads it: a part of our message, and why.
OURS = [
    ("has elements of type", "no weights: float64, integers"),
    ("cannot be used|not finite|infinite|NaN", "weights that are not numbers make no image"),
    ("state dict|no tensor|no text", "a state dict is read and nothing else"),
    ("refers to", "the list of allowed names has what a state dict needs, torch's has more"),
    ("no state dict needs|calls what cannot be called", "the same of opcodes"),
    ("leaves its storage", "an expanded view repeats elements, and may claim any size"),
    ("is compressed", "torch.save never compresses"),
    ("twice|cut short|lies outside|reaches into|does not start|zip64 directory|fewer entries|claims", "a damaged zip directory"),
    ("is encrypted", "a damaged zip directory"),
    ("marked as a directory", "torch reads nothing of such an entry, and leaves the elements as the memory was"),
    ("holds .* elements, its tensors need", "a count of elements whose bytes torch counts modulo 2^64"),
    ("needs .* elements of", "references to one storage that differ in its size"),
    ("needs storage .* missing", "torch leaves the elements of a storage that a legacy file lacks as the memory was"),
    ("UTF-8", "names that are not text"),
    ("constants.pkl|single data.pkl|big-endian", "archives that torch reads in another way"),
]
# What Python refuses although we read it.
THEIRS = [
    ("operand 149", "protocol 4, which the limited unpickler of torch lacks"),
    (
        "inline_container|invalid literal for int|codec can't decode|multidisk|hasRecord",
        "parts of the archive that say nothing of weights",
    ),
    ("not resizable", "a broken tensor beside the state dict, which is not looked at"),
    ("positional argument|requires_grad", "what a tensor's record says of gradients"),
    ("Overflow when unpacking", "an empty tensor with a side that torch's integers do not hold"),
    ("unhashable type", "a key that is not a name, beside the state dict"),
]


def mutate(rng, data):
    """A few small changes of bytes."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if not data:
            break
        at = rng.randrange(len(data))
        match rng.randrange(7):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at] = rng.randrange(256)
            case 2:
                data[at:] = b""
            case 3:
                data[at:at] = rng.randbytes(rng.randrange(1, 5))
            case 4:
                del data[at : at + rng.randrange(1, 9)]
            case 5:
                to = rng.randrange(len(data))
                data[to:to] = data[at : at + rng.randrange(1, 33)]
            case 6:
                text = bytes(data)
                digits = [found.start() for found in re.finditer(rb"[0-9]", text[:4096])]
                if digits:
                    data[rng.choice(digits)] = ord(rng.choice("0123456789"))
    return bytes(data)


def header_mutant(rng, data):
    """A safetensors file whose header is JSON still, with a field changed."""
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    for _ in range(rng.choice([1, 1, 2])):
        names = [name for name in header if name != "__metadata__"]
        if not names:
            break
        name = rng.choice(names)
        tensor = header[name]
        match rng.randrange(8):
            case 0:
                tensor["dtype"] = rng.choice(["F32", "F16", "BF16", "F64", "I32", "U8", "BOOL", "F8_E4M3", "x", 3])
            case 1:
                tensor["shape"] = [rng.choice([0, 1, 2, 3, -1, 2**32, 2**63, 1.5]) for _ in range(rng.randrange(4))]
            case 2:
                tensor["shape"] = tensor["shape"][::-1] + rng.choice([[], [1], [1, 1]])
            case 3:
                tensor["data_offsets"][rng.randrange(2)] += rng.choice([-4, -2, 1, 2, 4, 2**62])
            case 4:
                header[rng.choice(["again", "", "\0", "é", "__metadata__"])] = dict(tensor)
            case 5:
                del header[name]
            case 6:
                header["__metadata__"] = rng.choice([{}, {"a": "b"}, {"a": 1}, None, "text", {"format": "pt"}])
            case 7:
                tensor[rng.choice(["more", "dtype"])] = rng.choice([None, "F32", 1])
    text = json.dumps(header, ensure_ascii=rng.random() < 0.5).encode()
    text += b" " * rng.choice([0, 0, -len(text) % 8, 1])
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def zip_mutant(rng, data):
    """A sound zip file around a damaged entry."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
        names = old.namelist()
        changed = rng.choice([name for name in names if name.endswith("data.pkl")] * 4 + names)
        for name in names:
            entry = old.read(name)
            if name == changed:
                entry = mutate(rng, entry)
            new.writestr(name, entry)
    return out.getvalue()


def mutants(rng, kind, count):
    """Damaged files, the valid ones first."""
    if kind == "safetensors":
        seeds = [(FIXTURES / "pt/expected.safetensors").read_bytes()]
        seeds += [struct.pack("<Q", len(text)) + text for text in [p.read_bytes() for p in (SEEDS / "checkpoint").iterdir()]]
        yield from seeds
        for _ in range(count - len(seeds)):
            yield header_mutant(rng, seeds[0]) if rng.random() < 0.5 else mutate(rng, rng.choice(seeds[:1] * 4 + seeds))
        return
    seeds = [p.read_bytes() for p in sorted((FIXTURES / "pt").glob("*.pt")) if p.stat().st_size < 12_000]
    yield from seeds
    for _ in range(count - len(seeds)):
        seed = rng.choice(seeds)
        zipped = seed.startswith(b"PK")
        yield zip_mutant(rng, seed) if zipped and rng.random() < 0.6 else mutate(rng, seed)


def digits(tensor):
    return bytes(tensor.detach().to(torch.float32).contiguous().reshape(-1).view(torch.uint8).tolist()).hex()


def state_dict(found):
    """The tensors of a file's only state dict, as our reader chooses it: its own dict, or the one below."""
    if not isinstance(found, dict):
        raise ValueError("no dict")
    if not any(isinstance(value, torch.Tensor) for value in found.values()):
        named = lambda items: all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in items)
        below = [value for value in found.values() if isinstance(value, dict) and value and named(value.items())]
        if len(below) == 1:
            found = below[0]
        elif found:
            raise ValueError(f"{len(below)} state dicts")
    if found and all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): value for name, value in found.items()}
    return found


def load(path):
    """What Python makes of a file: tensors, or why it refuses."""
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, "pt") as file:
                found = {name: file.get_tensor(name) for name in file.keys()}
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # The limited unpickler's own reason stands in the middle of advice.
        text = " ".join(str(error).split())
        found = re.search("WeightsUnpickler error: .{0,100}", text)
        return {"error": f"{type(error).__name__}: {found[0] if found else text}"}
    try:
        return {"tensors": {name: [list(t.shape), digits(t)] for name, t in state_dict(found).items()}}
    except Exception as error:
        return {"other": f"{type(error).__name__}: {error}"}


def serve(connection):
    warnings.simplefilter("ignore")
    # What a hostile file claims must not take the machine's memory.
    limit = 8 << 30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    torch.set_num_threads(1)
    while (path := connection.recv()) is not None:
        connection.send(load(path))


class Python:
    """Python's readers in a process of their own, since a damaged file may end it."""

    def __init__(self):
        self.process = None

    def start(self):
        self.connection, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def load(self, path):
        if self.process is None:
            self.start()
        self.connection.send(path)
        try:
            if self.connection.poll(60):
                return self.connection.recv()
            self.process.kill()
            answer = {"error": "no answer in 60 s"}
        except EOFError:
            answer = {"error": "the process ended"}
        self.process.join()
        self.process = None
        return answer


def reason(reasons, message):
    return next((why for pattern, why in reasons if re.search(pattern, message)), None)


def main():
    read, folder, *more = sys.argv[1:]
    folder, count = pathlib.Path(folder), int(more[0]) if more else 3000
    rng = random.Random(int(more[1]) if len(more) > 1 else 0)
    folder.mkdir(parents=True, exist_ok=True)
    ours = subprocess.Popen([read], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    python, failures = Python(), 0
    for kind in ["safetensors", "pt"]:
        outcomes = collections.Counter()
        for i, data in enumerate(mutants(rng, kind, count)):
            path = folder / f"{i}.{kind}"
            path.write_bytes(data)
            print(path, file=ours.stdin, flush=True)
            us, them = json.loads(ours.stdout.readline()), python.load(path)
            known = True
            if "tensors" in us:
                if "tensors" in them:
                    known = us == them
                    outcome = "both accept, same values" if known else "OTHER VALUES"
                else:
                    message = them.get("error") or them["other"]
                    why = reason(THEIRS, message)
                    known = why is not None and "error" in them
                    outcome = f"we accept: {why}" if known else f"WE ACCEPT: {message.splitlines()[0]}"
            elif "error" in them:
                outcome = "both refuse"
            else:
                message = us["error"].split(": ", 1)[-1]
                why = reason(OURS, message)
                known = why is not None
                outcome = f"we refuse: {why}" if known else f"WE REFUSE: {message}"
            outcomes[outcome] += 1
            if known:
                path.unlink()
            else:
                failures += 1
                print(f"{path}: {outcome}")
        for outcome, times in outcomes.most_common():
            print(f"differential: {kind}: {times:6} {outcome}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
