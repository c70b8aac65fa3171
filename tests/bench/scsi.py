# SPDX-License-Identifier: GPL-3.0-or-later
"""
./waf bench scsi: how long a SCSI command takes.

One command after the other, by one program (roundtrip.c), with one registrant
on the disk:

  tgt    iSCSI by libiscsi, a raw file behind it
  rsvd   the tunnel of MS-RSVD by librsvd, a dynamic VHDX behind it
"""

import json
import os
import statistics
import subprocess
import tempfile

import bench
import tgt

COMMANDS = [
    ('TEST UNIT READY', 'test-unit-ready'),
    ('PERSISTENT RESERVE IN, READ KEYS', 'read-keys'),
]


def roundtrip(options, command, disk):
    done = subprocess.run(
        [os.path.join(os.environ['BUILD'], 'tests/bench/roundtrip'),
         '--command=' + command, '--seconds=%g' % options.seconds,
         '--ramp=%g' % options.ramp, disk],
        stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


def measure(options, command):
    """All rounds of one command; who answers -> list of results."""
    results = {'tgt': [], 'rsvd': []}
    raw = os.path.join(os.environ['LOCAL_PATH'], 'raw.img')
    for number in range(options.rounds):
        for name in sorted(results, reverse=number % 2):
            if name == 'rsvd':
                results[name].append(
                    roundtrip(options, command, '--path=dynamic.vhdx'))
                continue
            with tempfile.TemporaryDirectory() as directory, \
                 tgt.target(directory, raw) as url:
                results[name].append(
                    roundtrip(options, command, '--iscsi=' + url))
    return results


def summary(results):
    rates = [result['iops'] for result in results]
    return {
        'iops': statistics.median(rates),
        'p50_usec': statistics.median(r['p50_usec'] for r in results),
        'p99_usec': statistics.median(r['p99_usec'] for r in results),
        'spread_percent': bench.spread(rates),
    }


def run(options):
    if not tgt.is_there():
        raise SystemExit('bench: no tgt, which this compares with')
    bench.prepare(options)
    print('\n%-33s' % '' + ''.join(
        '   %8s %7s %7s %4s' % (name, 'p50 us', 'p99 us', '+-%')
        for name in ('tgt', 'rsvd')) + '   rsvd/tgt', flush=True)
    rows = []
    for title, command in COMMANDS:
        results = measure(options, command)
        cells = {name: summary(of) for name, of in results.items()}
        ratios = {'rsvd/tgt': bench.ratio(results['rsvd'], results['tgt'])}
        print('%-33s' % title + ''.join(
            '   %(iops)8.0f %(p50_usec)7.1f %(p99_usec)7.1f '
            '%(spread_percent)4.0f' % cells[name] for name in ('tgt', 'rsvd'))
            + '   %8.2f' % ratios['rsvd/tgt'], flush=True)
        rows.append({'command': title, 'summary': cells, 'ratios': ratios,
                     'rounds': results})
    return rows
