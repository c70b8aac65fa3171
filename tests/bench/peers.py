# SPDX-License-Identifier: GPL-3.0-or-later
"""
./waf bench peers: against what one would take instead.

In each pair the two are driven by the same program:

  fio, its nbd engine
    qemu-nbd      qemu reads a dynamic VHDX itself, on this machine
    nbdkit rsvd   the same image through nbdkit and smbd, where others share it

  qemu-img bench
    tgt           iSCSI by libiscsi inside qemu, a raw file behind it
    nbdkit rsvd   NBD inside qemu, then as above

Ours has a server and a protocol more to go through; it is what a shared disk
costs a Linux client.
"""

import contextlib
import functools
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile

import bench
import tgt

KIB, MIB = 1024, 1024 * 1024

# 4 KiB of a qemu-img that cannot do random: every so many, all in the end
STRIDE = 7919 * 4 * KIB


class Workload:
    """Name, what fio calls it, what qemu-img bench needs for it."""

    def __init__(self, name, pattern, block_size, step):
        self.name = name
        self.pattern = pattern
        self.block_size = block_size
        self.step = step

    def is_write(self):
        return 'write' in self.pattern


RANDOM_OR_SEQUENTIAL = [
    Workload('4 KiB random read', 'randread', 4 * KIB, None),
    Workload('4 KiB random write', 'randwrite', 4 * KIB, None),
    Workload('1 MiB sequential read', 'read', MIB, None),
    Workload('1 MiB sequential write', 'write', MIB, None),
]

STRIDED_OR_SEQUENTIAL = [
    Workload('4 KiB strided read', 'read', 4 * KIB, STRIDE),
    Workload('4 KiB strided write', 'write', 4 * KIB, STRIDE),
    Workload('1 MiB sequential read', 'read', MIB, MIB),
    Workload('1 MiB sequential write', 'write', MIB, MIB),
]


@contextlib.contextmanager
def nbd_server(command, path):
    """A NBD server, from when it listens until it has ended."""
    with subprocess.Popen(command) as child:
        try:
            tgt.wait_for(child, path)
            yield 'nbd+unix:///?socket=' + path
        finally:
            child.terminate()


def qemu_nbd(directory):
    path = os.path.join(directory, 'qemu')
    return nbd_server(['qemu-nbd', '--format=vhdx', '--persistent',
                       '--shared=8', '--cache=writeback', '--aio=threads',
                       '--socket=' + path,
                       os.path.join(os.environ['LOCAL_PATH'],
                                    'dynamic.vhdx')], path)


def nbdkit_rsvd(directory):
    path = os.path.join(directory, 'nbdkit')
    secret = os.path.join(directory, 'password')
    with open(secret, 'w') as out:
        out.write(os.environ['PASSWORD'])
    plugin = os.path.join(os.environ['BUILD'],
                          'nbdkit/nbdkit-rsvd-plugin.so')
    return nbd_server(
        ['nbdkit', '--foreground', '--unix', path, plugin,
         '//%s/%s/dynamic.vhdx' % (os.environ['SERVER_IP'],
                                   os.environ['SHARE']),
         'port=' + os.environ['SERVER_PORT'],
         'user=' + os.environ['USERNAME'], 'password=+' + secret,
         'config-file=' + os.environ['CONFIGURATION'].split()[1]], path)


def tgt_raw(directory):
    return tgt.target(directory,
                      os.path.join(os.environ['LOCAL_PATH'], 'raw.img'))


def fio(options, uri, workload, depth, _):
    done = subprocess.run(
        ['fio', '--name=peers', '--ioengine=nbd', '--uri=' + uri,
         '--rw=' + workload.pattern, '--bs=%d' % workload.block_size,
         '--iodepth=%d' % depth, '--time_based',
         '--ramp_time=%dms' % (options.ramp * 1000),
         '--runtime=%dms' % (options.seconds * 1000),
         '--output-format=json'], stdout=subprocess.PIPE, check=True,
        text=True)
    # It may say something before the JSON begins.
    job = json.loads(done.stdout[done.stdout.index('{'):])['jobs'][0]
    side = job['write' if workload.is_write() else 'read']
    return {'iops': side['iops'], 'bytes_per_second': side['bw_bytes']}


def qemu_img_count(workload, depth, uri, count, image_format='raw'):
    """Do so many, and tell how many a second that were."""
    command = ['qemu-img', 'bench', '-f', image_format, '-c', str(count),
               '-d', str(depth), '-s', str(workload.block_size),
               '-S', str(workload.step)]
    if workload.is_write():
        command += ['-w', '--pattern=165']
    done = subprocess.run(command + [uri], stdout=subprocess.PIPE,
                          check=True, text=True)
    seconds = float(re.search(r'completed in ([0-9.]+) seconds',
                              done.stdout).group(1))
    return count / max(seconds, 0.001)


def qemu_img(options, uri, workload, depth, last):
    """It takes a number of operations: what the last round did in the time."""
    if last is None:
        rate = qemu_img_count(workload, depth, uri, 64 * depth)
    else:
        rate = last['iops']
    rate = qemu_img_count(workload, depth, uri,
                          max(int(rate * options.seconds), depth))
    return {'iops': rate, 'bytes_per_second': rate * workload.block_size}


OURS = ('nbdkit rsvd', nbdkit_rsvd)

# client, what it needs, how it is run, with what, on whom
PAIRS = [
    ('fio, nbd engine', ['fio', 'qemu-nbd', 'nbdkit'], fio,
     RANDOM_OR_SEQUENTIAL, [('qemu-nbd', qemu_nbd), OURS]),
    ('qemu-img bench, iSCSI and NBD', ['qemu-img', 'nbdkit'] + tgt.PROGRAMS,
     qemu_img, STRIDED_OR_SEQUENTIAL, [('tgt', tgt_raw), OURS]),
]


@functools.lru_cache(maxsize=None)
def version(program):
    done = subprocess.run([program, '--version'], stdout=subprocess.PIPE,
                          text=True)
    text = done.stdout.partition('\n')[0].strip()
    return text if program in text else '%s %s' % (program, text)


def measure(options, run_client, peers, workload, depth):
    results = {name: [] for name, _ in peers}
    for number in range(options.rounds):
        for name, serve in reversed(peers) if number % 2 else peers:
            of = results[name]
            with tempfile.TemporaryDirectory() as directory, \
                 serve(directory) as uri:
                of.append(run_client(options, uri, workload, depth,
                                     of[-1] if of else None))
    return results


def summary(results):
    rates = [result['iops'] for result in results]
    return {
        'iops': statistics.median(rates),
        'megabytes_per_second': statistics.median(
            result['bytes_per_second'] for result in results) / 1e6,
        'spread_percent': bench.spread(rates),
    }


def measure_pair(options, pair):
    client, programs, run_client, workloads, peers = pair
    missing = [p for p in programs if shutil.which(p) is None]
    print('\n%s' % client)
    if missing:
        print('left out: there is no ' + ', '.join(missing), flush=True)
        return []
    names = [name for name, _ in peers]
    ratio = '%s/%s' % (names[1], names[0])
    print('%-23s %5s' % ('', 'depth') + ''.join(
        '   %-12s %7s %4s' % (name, 'MB/s', '+-%') for name in names)
        + '   ratio', flush=True)
    rows = []
    for workload in workloads:
        for depth in options.depths:
            results = measure(options, run_client, peers, workload, depth)
            cells = {name: summary(of) for name, of in results.items()}
            ratios = {ratio: bench.ratio(results[names[1]],
                                         results[names[0]])}
            print('%-23s %5d' % (workload.name, depth) + ''.join(
                '   %(iops)12.0f %(megabytes_per_second)7.1f '
                '%(spread_percent)4.0f' % cells[name] for name in names)
                + '   %5.2f' % ratios[ratio], flush=True)
            rows.append({'client': client, 'peers': names,
                         'versions': {p: version(p) for p in programs
                                      if p != 'tgtadm'},
                         'workload': workload.name, 'queue_depth': depth,
                         'summary': cells, 'ratios': ratios,
                         'rounds': results})
    return rows


def run(options):
    bench.prepare(options)
    return [row for pair in PAIRS for row in measure_pair(options, pair)]
