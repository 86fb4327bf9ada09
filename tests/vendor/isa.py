"""Reads RADV's assembly: what one iteration of a kernel's main loop costs a SIMD of Navi 21."""
import collections, re

BYTES = {'b32': 4, 'b64': 8, 'b96': 12, 'b128': 16}

def parse(path):
    code, labels = [], {}
    for line in open(path):
        line = line.split(';')[0].rstrip()
        if m := re.match(r'(BB\d+):', line): labels[m.group(1)] = len(code)
        elif m := re.match(r'\s+([a-z]\w+)\s*(.*)', line): code.append((m.group(1), m.group(2)))
    return code, labels

def loops(code, labels):
    """(first, last) of all loops, inner ones after those that hold them; back edges to one header are one loop."""
    ends = {}
    for i, (op, args) in enumerate(code):
        to = args.split()[-1].strip() if args and re.match(r's_c?branch', op) else None
        if to in labels and labels[to] <= i: ends[labels[to]] = i
    return sorted(ends.items(), key=lambda loop: loop[0] - loop[1])

CLASSES = [
    ('FMA_dual', r'v_dual'), ('FMA', r'v_(fma|fmac|mac|mad|fmaak|fmamk|madak|madmk)(_legacy)?_f32|v_dot2'),
    ('PK16', r'v_pk_(fma|mul|add|fmac)_f16'), ('F16', r'v_(fma|fmac|mul|add)_f16'), ('CVT', r'v_cvt'),
    ('TRANS', r'v_(rcp|sqrt|rsq|exp|log|sin|cos)'), ('MOV', r'v_(mov|swap|readfirstlane|readlane|writelane)'), ('VALU', r'v_'),
    ('LDSread', r'ds_(read|load)'), ('LDSwrite', r'ds_(write|store)'), ('LDS', r'ds_'), ('load', r'(buffer|global|flat)_load'),
    ('store', r'(buffer|global|flat)_store'), ('scratch', r'scratch'), ('SMEM', r's_(buffer_)?load'), ('wait', r's_wait'),
    ('barrier', r'.*barrier'), ('branch', r'.*branch'), ('hint', r's_(nop|clause|delay_alu|inst_prefetch|set_inst_prefetch_distance)'), ('SALU', r's_'),
]

def count(code):
    c = collections.Counter()
    for op, _ in code:
        name = next((n for n, r in CLASSES if re.match(r, op)), '?' + op)
        c[name] += 1
        if name.startswith('LDS') and op.split('_')[-1] in BYTES: c['LDSbytes'] += BYTES[op.split('_')[-1]]
    return c

def costs(body):
    """Of a stretch of code, for one wave64: FMA, VALU (8 cycles a transcendental instruction, 2 any other), bytes per
    invocation through LDS, waits on global, scalar and LDS reads, barriers."""
    c = count(body)
    waits, pending, loading = collections.Counter(), None, False
    for op, args in body:
        loading |= bool(re.match(r'(buffer|global|flat)_load', op))
        if re.match(r's_(buffer_)?load', op): pending = 'scalar'
        elif op.startswith('ds_'): pending = 'lds'
        elif op.startswith('s_waitcnt'):
            if 'vmcnt' in args and loading: waits['memory'] += 1; loading = False
            if 'lgkmcnt' in args and pending: waits[pending] += 1; pending = None
    return collections.Counter(
        fma=c['FMA'] + 2 * c['FMA_dual'] + 2 * c['PK16'],
        valu=c['FMA'] + c['FMA_dual'] + c['PK16'] + c['F16'] + c['CVT'] + c['MOV'] + c['VALU'] + 4 * c['TRANS'],
        lds=c['LDSbytes'], load=c['load'], wait=300 * waits['memory'] + 100 * waits['scalar'] + 80 * waits['lds'] + 30 * (c['barrier'] > 0))

def cycles(c, waves):
    """What `waves` waves on one SIMD32 of Navi 21 take each, sharing it: their waits overlap perfectly with others' work. LDS
    gives a SIMD 64 bytes per cycle."""
    busy = max(2 * c['valu'], c['lds'])
    return max(busy, (busy + c['wait']) / waves)

def weighted(code, labels, trips):
    """The costs of one iteration of the longest loop; `trips` says how often a loop within it runs, by its own costs and
    whether it holds others. None without a loop."""
    found = loops(code, labels)
    if not found: return None
    def inside(loop):
        within = [x for x in found if x != loop and loop[0] <= x[0] and x[1] <= loop[1]]
        children = [x for x in within if not any(y != x and y[0] <= x[0] and x[1] <= y[1] for y in within)]
        held, total = set(), collections.Counter()
        for child in children:
            held.update(range(child[0], child[1] + 1))
            inner = inside(child)
            times = trips(inner, any(child[0] <= x[0] and x[1] <= child[1] for x in within if x != child))
            for key, value in inner.items(): total[key] += times * value
        own = costs([code[i] for i in range(loop[0], loop[1] + 1) if i not in held])
        for key, value in own.items(): total[key] += value
        return total
    return inside(found[0])
