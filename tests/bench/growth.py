#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
./waf bench growth: what more of everything costs.

More initiators on one disk, more registrants, larger disks: what an operation
costs should stay what it is. 4 KiB random reads and writes of a dynamic VHDX;
the median of rounds that take turns.
"""

import concurrent.futures
import os
import statistics
import subprocess
import threading

import bench


def image(name, *options):
    path = os.path.join(os.environ['LOCAL_PATH'], name)
    subprocess.run(['rsvdctl', 'create', *options, path], check=True)


def window(options):
    """Reads and writes stay within so much of a disk."""
    return '16M' if options.quick else '256M'


def fill(options, name):
    size = window(options)
    bench.load(['--path=' + name, '--size=' + size, '--block-size=1M',
                '--pattern=sequential', '--read-percent=0',
                '--operations=%d' % bench.mebibytes(size)])


def arguments_of(options, name, read_percent, depth, *more):
    arguments = ['--path=' + name, '--read-percent=%d' % read_percent,
                 '--queue-depth=%d' % depth,
                 '--seconds=%g' % options.seconds, *more]
    if not any(argument.startswith('--size=') for argument in more):
        arguments.append('--size=' + window(options))
    return arguments


def together(options, name, read_percent, depth, number):
    """Several initiators at the same time; one result for all of them."""
    barrier = threading.Barrier(number)
    with concurrent.futures.ThreadPoolExecutor(number) as pool:
        results = list(pool.map(
            lambda seed: bench.load(
                arguments_of(options, name, read_percent, depth,
                             '--ramp=0', '--seed=%d' % seed), barrier),
            range(number)))
    return {
        'iops': sum(result['iops'] for result in results),
        'server_cpu_usec': 1e6 * sum(result['server_cpu_seconds']
                                     for result in results)
        / sum(bench.operations(result) for result in results),
    }


def alone(options, name, read_percent, depth, *more):
    result = bench.load(arguments_of(options, name, read_percent, depth,
                                     '--ramp=%g' % options.ramp, *more))
    return {
        'iops': result['iops'],
        'server_cpu_usec': 1e6 * result['server_cpu_seconds']
        / bench.operations(result),
        'open_usec': result['open_usec'],
        'server_private_mib': result['server_private_kib'] / 1024,
    }


def table(options, title, header, points, columns):
    """
    Measure and print one table; points are (label, function), a function
    returns the cells of its row in one round.
    """
    results = {label: [] for label, _ in points}
    for _ in range(options.rounds):
        for label, measure in points:
            results[label].append(measure())
    print('\n%s\n%-12s' % (title, header)
          + ''.join('%16s' % column for column in columns))
    rows = {}
    for label, _ in points:
        rows[label] = {column: statistics.median(
            result[column] for result in results[label])
            for column in columns}
        print('%-12s' % label + ''.join(
            '%16.0f' % rows[label][column] for column in columns),
            flush=True)
    return {'title': title, 'rows': rows, 'rounds': results}


def both(read, write):
    """A read and a write measurement as the cells of one row."""
    return {
        'read IOPS': read['iops'],
        'read CPU usec': read['server_cpu_usec'],
        'write IOPS': write['iops'],
        'write CPU usec': write['server_cpu_usec'],
    }


COLUMNS = ['read IOPS', 'read CPU usec', 'write IOPS', 'write CPU usec']


def initiators(options):
    numbers = [1, 2] if options.quick else [1, 2, 4, 8, 16]
    image('many.vhdx', '--size=1G')
    fill(options, 'many.vhdx')

    def point(number):
        return lambda: both(
            together(options, 'many.vhdx', 100, 4, number),
            together(options, 'many.vhdx', 0, 4, number))
    return table(options, 'initiators on one disk, depth 4 each',
                 'initiators', [(str(n), point(n)) for n in numbers],
                 COLUMNS)


def registrants(options):
    numbers = [0, 2] if options.quick else [0, 1, 10, 100, 1000]
    for number in numbers:
        image('registered%d.vhdx' % number, '--size=1G')
        fill(options, 'registered%d.vhdx' % number)

    def point(number):
        name = 'registered%d.vhdx' % number
        more = ['--registrants=%d' % number] if number else []
        return lambda: both(alone(options, name, 100, 8, *more),
                            alone(options, name, 0, 8, *more))
    return table(options, 'registrants, one of which holds a reservation '
                 'and works, depth 8', 'registrants',
                 [(str(n), point(n)) for n in numbers], COLUMNS)


def sizes(options):
    names = ['1G', '64T'] if options.quick else ['1G', '64G', '1T', '64T']
    for size in names:
        image('%s.vhdx' % size, '--size=' + size, '--block-size=1M')
        fill(options, '%s.vhdx' % size)

    def point(size):
        def measure():
            name = '%s.vhdx' % size
            near = alone(options, name, 100, 8)
            write = alone(options, name, 0, 8)
            # The BAT of all the disk: what is not mapped is looked up.
            far = alone(options, name, 100, 8, '--size=' + size)
            return {
                'attach usec': near['open_usec'],
                'read IOPS': near['iops'],
                'write IOPS': write['iops'],
                'all of it': far['iops'],
                'smbd MiB': far['server_private_mib'],
            }
        return measure
    return table(options, 'size of the disk, blocks of 1 MiB; reads and '
                 'writes in the first %siB, reads of all of it'
                 % window(options), 'size',
                 [(size, point(size)) for size in names],
                 ['attach usec', 'read IOPS', 'write IOPS', 'all of it',
                  'smbd MiB'])


def run(options):
    return [initiators(options), registrants(options), sizes(options)]
