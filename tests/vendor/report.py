"""What vendors' compilers make of the default GPU plans, as docs/gpu-report.md, and the check that it gets no worse.

report.py plans | --write OUT FILE TARGET=VENDOR... | --check OUT FILE TARGET=VENDOR..., of what report.sh leaves in OUT.

Registers, spills, code size and compile time are what the compilers say. The time of a step is a model of Navi 21, which ranks
the parts of a step and measures nothing: a dispatch takes 4 us and the longest of its activations' way through the cache (1.5
TB/s), its weights' from memory (512 GB/s) and, for matrix products and attention, its main loop on the fullest of 160 SIMD32
at 2.2 GHz, over which its workgroups spread evenly."""
import collections, json, math, os, re, sys
import isa

NAMES = ['64x64_diffusion', '128x128_diffusion', '256x256_diffusion', '256x256_diffusion_uncond', '512x512_diffusion', '64_256_upsampler', '128_512_upsampler', 'lsun_bedroom', 'lsun_cat', 'lsun_horse', 'lsun_horse_nodropout']
GUIDED = {'64x64_diffusion': '64x64_classifier', '128x128_diffusion': '128x128_classifier', '256x256_diffusion': '256x256_classifier', '256x256_diffusion_uncond': '256x256_classifier', '512x512_diffusion': '512x512_classifier'}
SIMDS, CLOCK, CACHE, MEMORY, DISPATCH = 160, 2.2e9, 1.5e12, 512e9, 4e-6
# The check's limits; of code by what a GPU's instruction caches hold (NVIDIA's second: Jia et al. 2018, arXiv 1804.06826).
CODE, GROUPS, SHARE, GROWTH = {'amd': 32 << 10, 'intel': 32 << 10, 'nvidia': 128 << 10}, 160, 0.01, 1.05

def plans():
    for name in NAMES:
        for batch in (1, 8):
            for precision in ('f32', 'f16'):
                yield f'{name}:{batch}:{precision}'
                if name in GUIDED: yield f'{name}:{batch}:{precision}:{GUIDED[name]}'

def statistics(path, target):
    """Kernel -> what the compiler says, in one form for all drivers."""
    out = {}
    for line in open(path):
        if line[0] == '#': continue
        index, seconds, wave, known, name = line.rstrip('\n').split('\t')
        known, wave = json.loads(known), int(wave)
        if 'VGPRs' in known:
            # GFX10 and later: RADV counts waves of 32 here, whatever the kernel's size.
            waves = int(known['Subgroups per SIMD']) * (32 / wave if target.startswith(('navi', 'gfx1')) else 1)
            row = dict(registers=known['VGPRs'], spills=known['Spilled VGPRs'], code=known['Code size'], waves=int(waves))
        elif 'Number of GPRs' in known:
            # Spilled registers go to what NVK calls SLM, in bytes.
            row = dict(registers=known['Number of GPRs'], spills=known['SLM Size'] // 4, code=known['Code Size'], waves='')
        else:
            # ANV gives no code size; most instructions can be compacted to 8 bytes.
            row = dict(registers=known.get('Max live registers', '?'), spills=known['Spill Count'], code=8 * known['Instruction Count'], waves=f'SIMD{wave}')
        out[name] = row | dict(index=index, wave=wave, seconds=float(seconds))
    return out

def define(kernel, name, default=1):
    found = re.search(rf'\b{name}=(\d+)', kernel)
    return int(found[1]) if found else default

class Model:
    """The time of a step on Navi 21."""
    def __init__(self, out, known):
        self.out, self.known, self.loops = out, known, {}

    def loop(self, kernel):
        if kernel not in self.loops:
            lanes, rows, d4, mode = (define(kernel, x, 0) for x in ('LANES', 'ROWS', 'D4', 'MODE'))
            vectors, page = math.ceil(d4 / max(1, lanes)), 32 // (1 + (d4 > 8) + 2 * (d4 > 16) + 4 * (d4 > 32))
            def trips(c, holds):
                if not kernel.startswith('attention_tile'): return 1
                if holds: return 32 // page
                if c['load'] and c['fma'] >= 8: return math.ceil(d4 / (2 if mode == 1 else 4))
                if c['load']: return math.ceil(page * d4 / 64)
                return page * 4 * rows * vectors / max(1, c['fma'])
            path = f"{self.out}/isa/{self.known[kernel]['index']}.Assembly.txt"
            self.loops[kernel] = isa.weighted(*isa.parse(path), trips)
        return self.loops[kernel]

    def seconds(self, step, flops):
        groups, kernel = step['groups'], step['kernel']
        time = max(step['traffic'] / CACHE, step['weights'] / MEMORY)
        stem = kernel.split('{')[0]
        if stem in ('gemm', 'gemm_workgroup', 'attention_tile', 'conv2d') and (c := self.loop(kernel)) and c['fma']:
            n, h, w, channels = step['shape']
            all_groups = math.prod(groups)
            if stem == 'attention_tile':
                blocks = n * channels / 4 / define(kernel, 'D4') * math.ceil(h * w / (64 / define(kernel, 'LANES') * define(kernel, 'ROWS')))
                parts = all_groups / blocks if define(kernel, 'SPLIT', 0) else 1
                size, trips = 64, math.ceil(h * w / parts / 32)
            elif stem == 'conv2d': size, trips = 64, flops / (2 * n * h * w * channels) * 4 / c['fma']
            else:
                size = define(kernel, 'WX') * define(kernel, 'WY')
                tile = define(kernel, 'TM') * define(kernel, 'TN')
                inner = flops / (2 * n * h * w * channels) / (9 if step['winograd'] else 1)
                columns = math.ceil(math.ceil(channels / 4) / (define(kernel, 'TN') * define(kernel, 'WX')))
                lines = math.ceil(n * h * w / (define(kernel, 'TM') * define(kernel, 'WY')))
                parts = max(1, all_groups // (columns * lines)) if define(kernel, 'SPLIT', 0) else 1
                trips = math.ceil(inner / parts / 4 / max(1, round(c['fma'] / (16 * tile))))
            waves = max(1, all_groups * math.ceil(size / self.known[kernel]['wave']) / SIMDS)
            time = max(time, waves * trips * isa.cycles(c, min(waves, self.known[kernel]['waves'])) / CLOCK)
        return time + DISPATCH

def read_plan(path):
    steps = []
    for line in open(path):
        node, groups, shape, flops, traffic, weights, op, kernel, segment = line.rstrip('\n').split('\t')
        if segment in ('Start', 'Noise'): continue
        ints = lambda text, by: [int(x) for x in text.split(by)]
        steps.append(dict(node=(node, segment), groups=ints(groups, ','), shape=ints(shape, 'x'), flops=int(flops), traffic=int(traffic), weights=int(weights), op=op, kernel=kernel))
    flops, winograd = collections.Counter(), {s['node'] for s in steps if s['kernel'].startswith('winograd_input')}
    for s in steps: flops[s['node']] += s['flops']
    for s in steps: s['winograd'] = s['node'] in winograd
    return steps, flops

def label(step):
    kernel = step['kernel'].split('{')[0]
    if kernel == 'gemm_workgroup':
        kernel += ', Winograd' if step['winograd'] else ', im2col' if define(step['kernel'], 'IM2COL', 0) else ''
    return kernel

def main(mode, out, file, targets):
    vendors = dict(target.split('=') for target in targets)
    tables = {t: statistics(f'{out}/{t}.stats', t) for t in vendors}
    kernels = [line.rstrip('\n').split('\t')[2:] for line in open(f'{out}/kernels.tsv')]
    names = [name for _, name in kernels]
    model, failures, rows, parts = Model(out, tables['navi21']), [], [], []
    for plan in sorted(os.path.basename(f)[:-4] for f in os.listdir(out) if re.search(r':\d+:f(32|16)', f)):
        steps, flops = read_plan(f'{out}/{plan}.tsv')
        work = sum(flops.values())
        time, fewest, by = 0, (math.inf, ''), collections.Counter()
        for s in steps:
            t = model.seconds(s, flops[s['node']])
            time += t
            by[label(s)] += t
            groups = math.prod(s['groups'])
            large = flops[s['node']] > SHARE * work and s['kernel'].startswith(('gemm_workgroup', 'gemm{', 'attention', 'conv2d'))
            if large: fewest = min(fewest, (groups, s['kernel']))
        if fewest[0] < GROUPS: failures.append(f'{plan}: {fewest[0]} workgroups of {fewest[1]} do more than {SHARE:.0%} of the work')
        heaviest = '; '.join(f'{name} {t / time:.0%}' for name, t in by.most_common(4))
        rows.append((plan, len(steps), work / 1e9, time * 1e3, fewest[0], heaviest))
    known = {plan: time for plan, _, _, time, _, _ in rows}
    for plan, time in known.items():
        if time > known.get(plan.replace(':f16', ':f32'), math.inf): failures.append(f'{plan}: slower by the model than in f32')
    for owners, name in kernels:
        for target, table in tables.items():
            r = table.get(name)
            if not {'any', vendors[target]} & set(owners.split(',')): continue
            if r is None: failures.append(f'{target}: {name} does not compile'); continue
            if r['spills']: failures.append(f"{target}: {name} spills {r['spills']} registers")
            if r['code'] > CODE[vendors[target]]: failures.append(f"{target}: {name} has {r['code']} bytes of code")
    if mode == '--check':
        with open(file) as f: before = dict(re.findall(r'^\| `([^`]+)` \| [\d.]+ \| [\d.]+ \| ([\d.]+)', f.read(), re.M))
        for plan, _, _, time, _, _ in rows:
            if plan in before and time > GROWTH * float(before[plan]): failures.append(f'{plan}: {time:.1f} ms by the model, {before[plan]} before')
        print('\n'.join(failures) or f'{len(names)} kernels of {len(rows)} plans on {len(tables)} targets: nothing to report')
        sys.exit(bool(failures))
    text = f"""# Kernels by vendors' compilers

Written by `make gpu-report` (tests/vendor): every distinct kernel of the default plans of GPUs, compiled by Mesa 25.0.7's RADV (AMD), ANV
(Intel) and NVK (NVIDIA) without hardware; targets with -22 by Debian 12's Mesa 22.3.6. **Nothing here was measured on a GPU.** Registers, spills, code and compile seconds are what the compilers say.

## Plans

The step's time is that of a model of Navi 21 which ranks parts of a step; as a prediction it is worth a factor of two at best. It counts
{DISPATCH * 1e6:.0f} us per dispatch and the longest of: activations at {CACHE / 1e12} TB/s, weights at {MEMORY / 1e9:.0f} GB/s, the main loop's instructions and waits. Fewest
workgroups: of dispatches whose node has more than {SHARE:.0%} of the work.

| plan (file, batch, precision, classifier) | dispatches | GFLOP | step by the model, ms | fewest workgroups | most time |
|---|---|---|---|---|---|
"""
    text += ''.join(f'| `{plan}` | {count} | {work:.1f} | {time:.1f} | {few} | {heavy} |\n' for plan, count, work, time, few, heavy in rows)
    text += f"""
## Compilers

{len(names)} kernels.

| target | seconds for all | with spills | most code, KiB |
|---|---|---|---|
"""
    for target, table in tables.items():
        spilled = sum(r['spills'] > 0 for r in table.values())
        text += f"| {target} | {sum(r['seconds'] for r in table.values()):.1f} | {spilled} | {max(r['code'] for r in table.values()) / 1024:.1f} |\n"
    text += f"""
## Kernels

Registers / spills, waves per SIMD (AMD, of the kernel's own size) or SIMD width (Intel), code in KiB; of ANV, which says none, 8 bytes per
instruction, and registers before allocation (of 128). Kernels without values are in no plan of that vendor's GPUs. The plans above are
AMD's.

| kernel | {' | '.join(tables)} |
|---|{'---|' * len(tables)}
"""
    for name in names:
        cell = lambda r: '' if r is None else f"{r['registers']}/{r['spills']}, {r['waves']}{', ' if r['waves'] else ''}{r['code'] / 1024:.1f}"
        text += f"| `{name}` | {' | '.join(cell(table.get(name)) for table in tables.values())} |\n"
    with open(file + '.part', 'w') as f: f.write(text)
    os.replace(file + '.part', file)
    print('\n'.join(failures))

if __name__ == '__main__':
    if sys.argv[1] == 'plans': print(*plans())
    else: main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
