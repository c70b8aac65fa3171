#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
./waf bench peers: against what one would take instead.

The same client, fio over NBD, on the same dynamic VHDX with all blocks
allocated:

  qemu-nbd      qemu reads the image itself, on this machine
  nbdkit rsvd   through nbdkit and smbd, where others share the disk

The second has a server and a protocol more to go through; it is what a shared
disk costs a Linux client.
"""

import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import time

import bench

WORKLOADS = [
    ('4 KiB random read', 'randread', '4k'),
    ('4 KiB random write', 'randwrite', '4k'),
    ('1 MiB sequential read', 'read', '1m'),
    ('1 MiB sequential write', 'write', '1m'),
]


def listens(path):
    """Without connecting, of which the server would complain."""
    accepts = '00010000'
    with open('/proc/net/unix') as table:
        return any(line.split()[3] == accepts and line.split()[-1] == path
                   for line in list(table)[1:])


@contextlib.contextmanager
def server(command, path):
    """A NBD server, from when it listens until it has ended."""
    with subprocess.Popen(command) as child:
        try:
            while not listens(path):
                if child.poll() is not None:
                    raise SystemExit('bench: %s ended' % command[0])
                time.sleep(0.01)
            yield
        finally:
            child.terminate()


def qemu_nbd(directory):
    path = os.path.join(directory, 'qemu')
    return server(['qemu-nbd', '--format=vhdx', '--persistent',
                   '--shared=8', '--cache=writeback', '--aio=threads',
                   '--socket=' + path,
                   os.path.join(os.environ['LOCAL_PATH'], 'dynamic.vhdx')],
                  path), path


def nbdkit_rsvd(directory):
    path = os.path.join(directory, 'nbdkit')
    secret = os.path.join(directory, 'password')
    with open(secret, 'w') as out:
        out.write(os.environ['PASSWORD'])
    plugin = os.path.join(os.environ['BUILD'],
                          'nbdkit/nbdkit-rsvd-plugin.so')
    return server(['nbdkit', '--foreground', '--unix', path, plugin,
                   '//%s/%s/dynamic.vhdx' % (os.environ['SERVER_IP'],
                                             os.environ['SHARE']),
                   'port=' + os.environ['SERVER_PORT'],
                   'user=' + os.environ['USERNAME'],
                   'password=+' + secret, 'config-file='
                   + os.environ['CONFIGURATION'].split()[1]], path), path


PEERS = [('qemu-nbd', qemu_nbd), ('nbdkit rsvd', nbdkit_rsvd)]


def fio(options, path, workload, depth):
    _, pattern, block_size = workload
    done = subprocess.run(
        ['fio', '--name=peers', '--ioengine=nbd',
         '--uri=nbd+unix:///?socket=' + path, '--rw=' + pattern,
         '--bs=' + block_size, '--iodepth=%d' % depth, '--time_based',
         '--ramp_time=200ms', '--runtime=%dms' % (options.seconds * 1000),
         '--output-format=json'], stdout=subprocess.PIPE, check=True,
        text=True)
    # It may say something before the JSON begins.
    job = json.loads(done.stdout[done.stdout.index('{'):])['jobs'][0]
    side = job['write' if 'write' in pattern else 'read']
    return {'iops': side['iops'], 'bytes_per_second': side['bw_bytes']}


def run(options):
    bench.prepare(options)
    print('\n%-23s %5s' % ('', 'depth') + ''.join(
        '   %-12s %7s' % (name, 'MB/s') for name, _ in PEERS)
        + '   ratio', flush=True)
    rows = []
    for workload in WORKLOADS:
        for depth in options.depths:
            results = {name: [] for name, _ in PEERS}
            for _ in range(options.rounds):
                for name, start in PEERS:
                    with tempfile.TemporaryDirectory() as directory:
                        running, path = start(directory)
                        with running:
                            results[name].append(
                                fio(options, path, workload, depth))
            print('%-23s %5d' % (workload[0], depth) + ''.join(
                '   %12.0f %7.1f' % (
                    statistics.median(r['iops'] for r in results[name]),
                    statistics.median(r['bytes_per_second']
                                      for r in results[name]) / 1e6)
                for name, _ in PEERS)
                + '   %5.2f' % bench.ratio(results['nbdkit rsvd'],
                                           results['qemu-nbd']), flush=True)
            rows.append({'workload': workload[0], 'queue_depth': depth,
                         'rounds': results})
    return rows
