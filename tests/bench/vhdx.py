# SPDX-License-Identifier: GPL-3.0-or-later
"""
./waf bench vhdx: the image engine against qemu's, without Samba.

On the same kind of image, each in a process of its own:

  raw       what is not the engine: the storage that it uses (engine.c), on a
            raw file for first writes, and else on the blocks in the VHDX. The
            page cache has two files seldom alike, which would count for more.
  vfs_rsvd  a VHDX through our engine, by the same program
  qemu raw  a raw file by "qemu-img bench"
  qemu      a VHDX by "qemu-img bench"

in the patterns of qemu-img bench: pieces of 4 or 64 KiB, one every so many
bytes. First writes go to a new image of 1 MiB blocks, each to a block of its
own, at most one to each; rewrites and reads to one of which all is written,
in steps that come to every place but not in order. Nothing is flushed but by
the engines themselves: before the first write, for new blocks.
"""

import json
import os
import shutil
import statistics
import subprocess

import bench
import peers

KIB, MIB = 1024, 1024 * 1024
NAMES = ['raw', 'vfs_rsvd', 'qemu raw', 'qemu']
RATIOS = [('vfs_rsvd', 'raw'), ('qemu', 'qemu raw'), ('vfs_rsvd', 'qemu')]
DEPTHS = [1, 16]

# So many blocks has a new image, and so much is written to it at most.
NEW_BLOCKS, NEW_BYTES = 65536, 512 * MIB

# Than the runs of others: the first write has to wait for flushes of headers
# and log, which are not to count for much.
LONGER = 2

# A step of so many pieces comes to all of a disk before it comes back.
PRIME = 7919

# name, is it a first write, a write at all
WORKLOADS = [('first write', True, True), ('rewrite', False, True),
             ('read', False, False)]


def create(path, kind, size):
    """A new image or raw file, of which nothing is written."""
    if os.path.exists(path):
        os.remove(path)
    if kind == 'raw':
        with open(path, 'wb') as file:
            file.truncate(size)
        return
    subprocess.run(['rsvdctl', 'create', '--type=' + kind,
                    '--size=%d' % size]
                   + (['--block-size=1M'] if kind == 'dynamic' else [])
                   + [path], check=True)


def blocks_of(path):
    """Where a VHDX begins to have its blocks; of its own, all is written."""
    runs = json.loads(subprocess.check_output(
        ['rsvdctl', 'map', '--json', path]))
    return min(run['offset'] for run in runs)


def ours(path, raw, workload, depth, count):
    """Of a VHDX; or raw, of so many bytes of a file from an offset on"""
    command = [os.path.join(os.environ['BUILD'], 'tests/bench/engine'),
               '--count=%d' % count, '--depth=%d' % depth,
               '--length=%d' % workload.block_size,
               '--step=%d' % workload.step]
    if raw is not None:
        command += ['--raw', '--base=%d' % raw[0], '--size=%d' % raw[1]]
    if workload.is_write():
        command.append('--write')
    done = subprocess.run(command + [path], stdout=subprocess.PIPE,
                          check=True, text=True)
    return count / max(json.loads(done.stdout)['seconds'], 1e-6)


def once(options, name, kind, workload, depth, is_first, last):
    """One result; how many it takes is what the last one did in the time."""
    directory = os.environ['LOCAL_PATH']
    is_raw = name == 'qemu raw' or name == 'raw' and is_first
    kind = 'raw' if is_raw else kind
    size = NEW_BLOCKS * MIB if is_first else bench.mebibytes(options.size) * MIB

    def run(path, count):
        if name.startswith('qemu'):
            return peers.qemu_img_count(workload, depth, path, count,
                                        'raw' if is_raw else 'vhdx')
        raw = None
        if name == 'raw':
            raw = (0 if is_first else blocks_of(path), size)
        return ours(path, raw, workload, depth, count)

    def rate_of(count):
        if is_first:
            count = min(count, NEW_BLOCKS, NEW_BYTES // workload.block_size)
            new = os.path.join(directory, 'engine-new')
            create(new, kind, size)
            rate = run(new, count)
            os.remove(new)
            return rate
        return run(os.path.join(directory, 'engine-' + kind), count)

    seconds = options.seconds if options.quick else LONGER * options.seconds
    if last:
        rate = last['iops']
    else:
        rate = rate_of(depth if options.quick else 16 * depth)
        rate = rate_of(max(int(rate * seconds / 4), depth))
    rate = rate_of(max(int(rate * seconds), depth))
    return {'iops': rate, 'bytes_per_second': rate * workload.block_size}


def measure(options, kind, workload, depth, is_first):
    results = {name: [] for name in NAMES}
    for number in range(options.rounds):
        order = NAMES[number % 4:] + NAMES[:number % 4]
        for name in reversed(order) if number % 2 else order:
            if workload.is_write() and not options.quick:
                bench.sync_files()
            of = results[name]
            of.append(once(options, name, kind, workload, depth, is_first,
                           of[-1] if of else None))
    return results


def prepare(options):
    """Of the files for rewrites and reads, all is written."""
    size = bench.mebibytes(options.size) * MIB
    fill = peers.Workload('fill', 'write', MIB, MIB)
    for kind in ('raw', 'fixed', 'dynamic'):
        path = os.path.join(os.environ['LOCAL_PATH'], 'engine-' + kind)
        create(path, kind, size)
        ours(path, (0, size) if kind == 'raw' else None, fill, 4,
             size // MIB)


def run(options):
    if shutil.which('qemu-img') is None:
        raise SystemExit('bench: no qemu-img, which this compares with')
    prepare(options)
    print('\n%-29s %5s' % ('', 'depth') + ''.join(
        '   %9s %4s' % (name, '+-%') for name in NAMES)
        + ''.join('   %s/%s' % pair for pair in RATIOS), flush=True)
    rows = []
    for kind in ('dynamic', 'fixed'):
        for action, is_first, is_write in WORKLOADS:
            for block_size in (4 * KIB, 64 * KIB):
                workload = peers.Workload(
                    '%s, %d KiB %s' % (kind, block_size // KIB, action),
                    'write' if is_write else 'read', block_size,
                    MIB if is_first else PRIME * block_size)
                for depth in DEPTHS:
                    rows.append(row(options, kind, workload, depth, is_first))
    return rows


def row(options, kind, workload, depth, is_first):
    results = measure(options, kind, workload, depth, is_first)
    cells = {name: {
        'iops': statistics.median(result['iops'] for result in of),
        'spread_percent': bench.spread([result['iops'] for result in of]),
    } for name, of in results.items()}
    ratios = {'%s/%s' % pair: bench.ratio(*(results[name] for name in pair))
              for pair in RATIOS}
    print('%-29s %5d' % (workload.name, depth) + ''.join(
        '   %(iops)9.0f %(spread_percent)4.0f' % cells[name]
        for name in NAMES) + ''.join(
            '   %*.2f' % (len(name), value)
            for name, value in ratios.items()), flush=True)
    return {'workload': workload.name, 'queue_depth': depth,
            'is_first': is_first, 'version': peers.version('qemu-img'),
            'summary': cells, 'ratios': ratios, 'rounds': results}
