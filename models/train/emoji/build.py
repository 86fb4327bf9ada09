"""Build emoji64.npz, the pictures that the emoji models are trained on, from npm packages.

    npm ci --ignore-scripts && pip install -r requirements.txt && python build.py

About 4,000 drawings of five sets (Noto, an older Noto, Fluent in colour, flat and 3D) on white, 64x64.  The classes are
unions of Unicode's subgroups.  The file holds images [N, 64, 64, 3] uint8, labels, class_names, and for each picture its
code point, set, skin tone and name.
"""

import io
import json
import os
import re
import unicodedata

import numpy as np
import resvg_py
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGES = os.path.join(HERE, "node_modules")
SETS = ["noto", "fluent-3d", "fluent-emoji-flat", "noto-v1", "fluent-emoji"]  # of near duplicates the first set's stays
SIDE, MARGIN, DRAWN = 64, 2, 192  # of a picture, around what is drawn, and of the drawing that is reduced

# ---- which code point is which class ---------------------------------------------------------------------------------

SUBGROUPS = {
    "face": "face-smiling face-affection face-tongue face-hand face-neutral-skeptical face-sleepy face-unwell face-hat face-glasses "
            "face-concerned face-negative",
    "animal face": "cat-face monkey-face",
    "heart": "heart",
    "animal": "animal-mammal animal-reptile animal-bird animal-marine animal-bug",
    "plant": "plant-flower plant-other",
    "fruit & veg": "food-fruit food-vegetable",
    "food & drink": "food-prepared food-asian food-sweet drink",
    "place": "place-building place-religious place-geographic place-other hotel",
    "sky & weather": "sky-weather",
    "vehicle": "transport-ground transport-air transport-water",
    "hand": "hand-fingers-open hand-fingers-partial hand-single-finger hand-fingers-closed hand-prop hands",
    "person": "person person-role person-gesture person-fantasy person-sport person-activity person-resting",
}
CLASS_OF = {subgroup: name for name, subgroups in SUBGROUPS.items() for subgroup in subgroups.split()}


def listed(names):
    return {n.strip() for n in names.replace("\n", ",").split(",")}


FACES_OF_ANIMALS = listed("""dog face, cat face, mouse face, cow face, tiger face, rabbit face, horse face, pig face, monkey face, fox, wolf,
    raccoon, lion, bear, polar bear, koala, panda, hamster, unicorn, frog, dragon face, chicken, moose""")
ANIMALS_AMONG_FOOD = listed("lobster, crab, shrimp, squid, oyster, coral, jellyfish")
LEFT_OUT = listed("""bus stop, motorway, railway track, fuel pump, wheel, police car light, horizontal traffic light, vertical traffic light,
    stop sign, construction, oil drum, bellhop bell, barber pole, luggage, brick, wood, rock, feather, spider web, spiral shell, paw prints,
    microbe, pig nose, nest with eggs, empty nest, rosette, white flower, ring buoy, station, metro, salt, canned food, manual wheelchair,
    motorized wheelchair, kaaba, selfie, anchor, thermometer, seat""")
RUDE = {"1F595"}


def class_of(key, emoji):
    name = emoji["name"].lower()
    if name in LEFT_OUT or key in RUDE:
        return None
    if name in FACES_OF_ANIMALS and emoji["group"] == "animals-nature":
        return "animal face"
    if name in ANIMALS_AMONG_FOOD and emoji["group"] == "food-drink":
        return "animal"
    return CLASS_OF.get(emoji["subgroup"])


# ---- the packages ----------------------------------------------------------------------------------------------------

TONES = {"light-skin-tone": "1F3FB", "medium-light-skin-tone": "1F3FC", "medium-skin-tone": "1F3FD", "medium-dark-skin-tone": "1F3FE",
         "dark-skin-tone": "1F3FF"}
LONGEST_FIRST = sorted(TONES, key=len, reverse=True)  # "medium-dark-skin-tone" ends like "dark-skin-tone"


def read(path):
    with open(os.path.join(PACKAGES, path), encoding="utf8") as f:
        return json.load(f)


def split(hexcode):
    """(code points without variation selectors and skin tones, the tones)."""
    points = [p.upper().lstrip("0").zfill(4) for p in re.split("[-_ ]", hexcode)]
    plain = [p for p in points if p != "FE0F" and p not in TONES.values()] or [p for p in points if p != "FE0F"]
    return "-".join(plain), "-".join(p for p in points if p in TONES.values())


def slug(text):
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", text.replace("'", "")).strip("-")


def emoji_table():
    groups, table = read("emojibase-data/meta/groups.json"), {}
    for e in read("emojibase-data/en/data.json"):
        if e.get("group") is not None:
            table[split(e["hexcode"])[0]] = {"name": e["label"], "group": groups["groups"][str(e["group"])],
                                             "subgroup": groups["subgroups"][str(e["subgroup"])]}
    return table


def key_of_name(table):
    """From an icon's name: the emoji's own, Unicode's for its code point, and the usual short codes."""
    index = {}
    for key, e in table.items():
        index.setdefault(slug(e["name"]), key)
    for key in table:
        if "-" not in key:
            index.setdefault(slug(unicodedata.name(chr(int(key, 16)), "")), key)
    for kind in ("emojibase", "cldr", "github", "emojibase-legacy", "iamcal", "joypixels"):
        path = f"emojibase-data/en/shortcodes/{kind}.json"
        for hexcode, names in (read(path) if os.path.exists(os.path.join(PACKAGES, path)) else {}).items():
            key, tone = split(hexcode)
            if not tone and key in table:
                for name in [names] if isinstance(names, str) else names:
                    index.setdefault(slug(name), key)
    index.pop("", None)
    return index


def drawings(name, table, index):
    """(code point, skin tone, icon's name, SVG text or image path) of a set."""
    if name == "fluent-3d":
        folder = os.path.join(PACKAGES, "@lobehub/fluent-emoji-3d/assets")
        for file in sorted(os.listdir(folder)):
            yield *split(os.path.splitext(file)[0]), file, os.path.join(folder, file)
        return
    icons = read(f"@iconify-json/{name}/icons.json")
    # Two packages name code points; their relatives use the same names for the same drawings.
    chars = {"noto-v1": "noto", "fluent-emoji": "fluent-emoji-flat"}.get(name, name)
    named = {n: split(h) for h, n in read(f"@iconify-json/{chars}/chars.json").items()}
    for icon in sorted(icons["icons"]):
        body = icons["icons"][icon]
        field = lambda key, usual: body.get(key, icons.get(key, usual))
        if icon in named:
            key, tone = named[icon]
        else:
            tones, plain = [], icon
            for word in LONGEST_FIRST:
                if plain.endswith("-" + word):
                    plain = plain[: -len(word) - 1]
                    tones.append(TONES[word])
            key, tone = index.get(plain), "-".join(tones)
        w, h = field("width", 16), field("height", 16)
        yield key, tone, icon, (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{w}" height="{h}" '
                                f'viewBox="{field("left", 0)} {field("top", 0)} {w} {h}">{body["body"]}</svg>')


# ---- the pictures ----------------------------------------------------------------------------------------------------


def picture(drawing):
    """On white, centred, as large as the margin allows; None where there is too little to see."""
    if drawing.startswith("<svg"):
        png = resvg_py.svg_to_bytes(svg_string=drawing, width=DRAWN, height=DRAWN, skip_system_fonts=True)
        image = Image.open(io.BytesIO(bytes(png)))
    else:
        image = Image.open(drawing)
    a = np.asarray(image.convert("RGBA")).astype(np.float32)
    a[..., :3] *= a[..., 3:] / 255
    ys, xs = np.where(a[..., 3] > 20)
    if not len(xs):
        return None
    x0, x1, y0, y1 = xs.min(), xs.max() + 1, ys.min(), ys.max() + 1
    half = max(x1 - x0, y1 - y0) / 2 * SIDE / (SIDE - 2 * MARGIN)
    pad = int(np.ceil(half)) + 4
    a = np.pad(a, ((pad, pad), (pad, pad), (0, 0)))
    cx, cy = (x0 + x1) / 2 + pad, (y0 + y1) / 2 + pad
    box = (cx - half, cy - half, cx + half, cy + half)
    channels = [Image.fromarray(np.ascontiguousarray(a[..., c])).resize((SIDE, SIDE), Image.HAMMING, box=box) for c in range(4)]
    a = np.clip(np.stack([np.asarray(c) for c in channels], -1), 0, 255)
    white = np.clip(np.round(a[..., :3] + 255 - a[..., 3:]), 0, 255).astype(np.uint8)
    return white if (a[..., 3] > 128).mean() >= 0.05 and (white < 235).any(-1).mean() >= 0.04 else None


def unlike(rows):
    """Without near duplicates of an earlier picture of the same class."""
    reduced = lambda image: image.reshape(32, 2, 32, 2, 3).mean((1, 3)).ravel()
    kept = {}
    for row in rows:
        own, x = kept.setdefault(row["class"], ([], [])), reduced(row["image"].astype(np.float32))
        if not own[0] or np.sqrt(((np.stack(own[0]) - x) ** 2).mean(1)).min() >= 5:
            own[0].append(x)
            own[1].append(row)
            yield row


def main():
    table = emoji_table()
    index, seen, rows = key_of_name(table), set(), []
    for name in SETS:
        for key, tone, icon, drawing in drawings(name, table, index):
            kind = class_of(key, table[key]) if key in table else None
            # Only hands have pictures of their own per skin tone: they would make two in three of the people.
            if not kind or (tone and (kind != "hand" or "-" in tone)) or (name, key, tone) in seen:
                continue
            if name == "fluent-emoji" and ("fluent-3d", key, tone) in seen:  # the same drawing
                continue
            image = picture(drawing)
            if image is not None:
                seen.add((name, key, tone))
                rows.append({"class": kind, "image": image, "codepoint": key, "set": name, "tone": tone, "name": table[key]["name"]})
    rows = list(unlike(rows))
    names = sorted({r["class"] for r in rows})
    column = lambda key: np.array([r[key] for r in rows])
    np.savez_compressed(os.path.join(HERE, "emoji64.npz"), images=np.stack([r["image"] for r in rows]), class_names=np.array(names),
                        labels=np.array([names.index(r["class"]) for r in rows]), codepoint=column("codepoint"), set=column("set"),
                        tone=column("tone"), names=column("name"))
    print(f"{len(rows)} pictures")
    for c in names:
        own = [r for r in rows if r["class"] == c]
        print(f"{c:14} {len(own):4} of {len({r['codepoint'] for r in own})} code points   " + ", ".join(
            f"{s} {sum(r['set'] == s for r in own)}" for s in SETS))


if __name__ == "__main__":
    main()
