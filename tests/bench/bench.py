#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
./waf bench: what the module costs.

./waf bench datapath compares, on one share directory and with one client (load.c),

  a  a raw file, on a share without the module
  b  a fixed VHDX through the module
  c  a dynamic VHDX through the module, all of its blocks allocated

in rounds that take turns, each time on a new connection. What is shown is the
median of the rounds; a ratio is that of the two in one round, so that what
slows a whole round down does not count. The spread is the distance of the
best from the worst round, in percent of the median. CPU is user and system
time of the smbd that serves the connection, for one operation.

./waf bench all does this and everything else: with the defaults, on a machine
that does nothing else, in some twenty minutes. ./waf bench report puts what the
last runs have saved into docs/performance.md and its plots.
"""

import argparse
import datetime
import glob
import importlib
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
RESULTS = os.path.join(TOP, 'build/bench')
SELFTEST = os.path.join(TOP, 'tests/harness/selftest.py')

# name, block size, pattern, how many of 100 are reads
WORKLOADS = [
    ('4 KiB random read', '4K', 'random', 100),
    ('4 KiB random write', '4K', 'random', 0),
    ('4 KiB random 70:30', '4K', 'random', 70),
    ('1 MiB sequential read', '1M', 'sequential', 100),
    ('1 MiB sequential write', '1M', 'sequential', 0),
]

SECURITY = {
    'neither': [],
    'signed': ['--signing=required'],
    'encrypted': ['--encrypt'],
}


class Target:
    """What is measured: the letter it has in the tables, and a name."""

    def __init__(self, letter, name, arguments):
        self.letter = letter
        self.name = name
        self.arguments = arguments


def targets():
    plain = ['--share=' + os.environ['SHARE_PLAIN'], '--plain']
    return [
        Target('a', 'raw file', plain + ['--path=raw.img']),
        Target('b', 'fixed VHDX', ['--path=fixed.vhdx']),
        Target('c', 'dynamic VHDX', ['--path=dynamic.vhdx']),
    ]


def serving_pid(client_port):
    """The smbd at the other end of our connection."""
    server_port = int(os.environ['SERVER_PORT'])
    inode = None
    with open('/proc/net/tcp') as table:
        for line in list(table)[1:]:
            field = line.split()
            if (int(field[1].split(':')[1], 16) == server_port
                    and int(field[2].split(':')[1], 16) == client_port):
                inode = field[9]
    # Not by .../children, which may miss one while another one ends.
    for fd in glob.iglob('/proc/[0-9]*/fd/*'):
        try:
            found = os.readlink(fd) == 'socket:[%s]' % inode
        except OSError:
            continue
        pid = fd.split('/')[2]
        if found and pid != os.environ['SMBD_PID']:
            return int(pid)
    sys.exit('bench: which smbd serves port %d?' % client_port)


def cpu_seconds(pid):
    """User and system time of all threads of a process."""
    with open('/proc/%d/stat' % pid) as stat:
        field = stat.read().rpartition(')')[2].split()
    return (int(field[11]) + int(field[12])) / os.sysconf('SC_CLK_TCK')


def private_kib(pid):
    """Memory of a process that it does not share with other smbd."""
    with open('/proc/%d/smaps_rollup' % pid) as rollup:
        return sum(int(line.split()[1]) for line in rollup
                   if line.startswith('Private'))


def load(arguments, together=None):
    """
    Run load; what it says at the end, with the CPU time of its smbd.

    Several that run at the same time pass the barrier *together*; they do
    without a ramp, so that all they do is counted.
    """
    command = [os.path.join(os.environ['BUILD'], 'tests/bench/load'),
               '--wait'] + arguments
    child = subprocess.Popen(command, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
    pid, before, result = None, 0, None
    for line in child.stdout:
        event = json.loads(line)
        if event['event'] == 'connected':
            pid = serving_pid(event['port'])
            before = cpu_seconds(pid)
            if together:
                together.wait()
            child.stdin.write('\n')
            child.stdin.flush()
        elif event['event'] == 'start' and not together:
            before = cpu_seconds(pid)
        elif event['event'] == 'end':
            event['server_cpu_seconds'] = cpu_seconds(pid) - before
            event['server_private_kib'] = private_kib(pid)
            result = event
            child.stdin.close()
    if child.wait() != 0 or result is None:
        if together:
            together.abort()
        sys.exit('bench: load %s failed' % shlex.join(arguments))
    del result['event']
    return result


def prepare(options):
    """Make the files, and write all of each."""
    directory = os.environ['LOCAL_PATH']
    for kind in ('fixed', 'dynamic'):
        image = os.path.join(directory, kind + '.vhdx')
        if os.path.exists(image):
            os.remove(image)
        subprocess.run(['rsvdctl', 'create', '--type=' + kind,
                        '--size=' + options.size, image], check=True)
    for target in targets():
        load(target.arguments + [
            '--size=' + options.size, '--block-size=1M',
            '--pattern=sequential', '--read-percent=0', '--queue-depth=4',
            '--operations=%d' % (mebibytes(options.size))])


def listens(path):
    """On a socket; found without connecting, of which some complain."""
    accepts = '00010000'
    with open('/proc/net/unix') as table:
        return any(line.split()[3] == accepts and line.split()[-1] == path
                   for line in list(table)[1:])


def sync_files():
    directory = os.environ['LOCAL_PATH']
    for name in os.listdir(directory):
        with open(os.path.join(directory, name), 'rb') as file:
            os.fsync(file.fileno())


def mebibytes(size):
    units = {'M': 1, 'G': 1024}
    return int(size[:-1]) * units[size[-1]]


def measure(options, workload, depth, security):
    """All rounds of one row; target letter -> list of results."""
    name, block_size, pattern, read_percent = workload
    results = {target.letter: [] for target in targets()}
    for number in range(options.rounds):
        # Nobody is always the first, or always after the same one.
        order = targets()
        order = order[number % 3:] + order[:number % 3]
        if number % 2:
            order.reverse()
        for target in order:
            if read_percent < 100 and not options.quick:
                # What the last run left to be written is not our time.
                sync_files()
            results[target.letter].append(load(
                target.arguments + SECURITY[security] + [
                    '--size=' + options.size, '--block-size=' + block_size,
                    '--pattern=' + pattern,
                    '--read-percent=%d' % read_percent,
                    '--queue-depth=%d' % depth,
                    '--seconds=%g' % options.seconds,
                    '--ramp=%g' % options.ramp,
                    '--seed=%d' % number]))
    return results


def operations(result):
    return result['reads'] + result['writes']


def spread(values):
    """From the best to the worst, in percent of the median."""
    return 100 * (max(values) - min(values)) / statistics.median(values)


def summary(results):
    """One cell of the table."""
    rates = [result['iops'] for result in results]
    return {
        'iops': statistics.median(rates),
        'megabytes_per_second': statistics.median(
            result['bytes_per_second'] for result in results) / 1e6,
        'spread_percent': spread(rates),
        'server_cpu_usec': 1e6 * statistics.median(
            result['server_cpu_seconds'] / operations(result)
            for result in results),
        'client_cpu_usec': 1e6 * statistics.median(
            result['client_cpu_seconds'] / operations(result)
            for result in results),
    }


def ratio(results, reference):
    """How the rounds of one target compare with those of another."""
    return statistics.median(
        one['iops'] / other['iops']
        for one, other in zip(results, reference))


def print_heading(security):
    print()
    print({'neither': 'neither signed nor encrypted',
           'signed': 'signed', 'encrypted': 'encrypted'}[security])
    print('%-23s %5s' % ('', '')
          + ''.join('   %-21s' % ('%s: %s' % (target.letter, target.name))
                    for target in targets())
          + '  %-13s  %s' % ('ratio', 'CPU usec per op'))
    print('%-23s %5s' % ('', 'depth')
          + 3 * ('   %8s %7s %4s' % ('IOPS', 'MB/s', '+-%'))
          + '  %6s %6s  %5s %5s %5s' % ('b/a', 'c/a', 'a', 'b', 'c'),
          flush=True)


def print_row(name, depth, cells, ratios):
    a, b, c = (cells[letter] for letter in 'abc')
    print('%-23s %5d' % (name, depth)
          + ''.join('   %8.0f %7.1f %4.0f' % (
              cell['iops'], cell['megabytes_per_second'],
              cell['spread_percent']) for cell in (a, b, c))
          + '  %6.3f %6.3f' % (ratios['b/a'], ratios['c/a'])
          + '  %5.0f %5.0f %5.0f' % tuple(cell['server_cpu_usec']
                                          for cell in (a, b, c)),
          flush=True)


def machine():
    with open('/proc/cpuinfo') as cpuinfo:
        models = [line.partition(':')[2].strip() for line in cpuinfo
                  if line.startswith('model name')]
    smbd = subprocess.run(['/usr/sbin/smbd', '--version'],
                          stdout=subprocess.PIPE, text=True)
    return {
        'cpu': models[0] if models else platform.machine(),
        'cores': os.cpu_count(),
        'kernel': platform.release(),
        'smbd': smbd.stdout.strip(),
        'file_system': file_system(os.environ['LOCAL_PATH']),
        'tcp': congestion_control(),
    }


def congestion_control():
    with open('/proc/sys/net/ipv4/tcp_congestion_control') as name:
        return name.read().strip()


def file_system(path):
    found = subprocess.run(['stat', '-f', '-c', '%T', path],
                           stdout=subprocess.PIPE, text=True)
    return found.stdout.strip()


def datapath(options):
    prepare(options)
    rows = []
    for security in options.security:
        print_heading(security)
        for workload in WORKLOADS:
            for depth in (options.depths if security == 'neither'
                          else options.secure_depths):
                results = measure(options, workload, depth, security)
                cells = {letter: summary(of) for letter, of in results.items()}
                ratios = {letter + '/a': ratio(results[letter], results['a'])
                          for letter in 'bc'}
                print_row(workload[0], depth, cells, ratios)
                rows.append({'workload': workload[0], 'queue_depth': depth,
                             'security': security, 'summary': cells,
                             'ratios': ratios, 'rounds': results})
    return rows


def run(options, command):
    about = machine()
    date = datetime.datetime.now().astimezone()
    print('%(cores)d cores of %(cpu)s, Linux %(kernel)s, %(file_system)s, '
          'TCP %(tcp)s, smbd %(smbd)s' % about)
    print('%s; %d rounds of %g s' % (
        date.strftime('%Y-%m-%d %H:%M'), options.rounds, options.seconds),
        flush=True)
    if options.what == 'datapath':
        rows = datapath(options)
    else:
        # These import this in turn.
        rows = importlib.import_module(options.what).run(options)

    os.makedirs(options.output, exist_ok=True)
    path = os.path.join(options.output, '%s-%s.json' % (
        options.what, date.strftime('%Y%m%d-%H%M%S')))
    with open(path, 'w') as out:
        json.dump({'command': command, 'date': date.isoformat(),
                   'machine': about, 'targets':
                   {target.letter: target.name for target in targets()},
                   'options': vars(options), 'rows': rows}, out, indent=1)
        out.write('\n')
    print()
    print('saved in ' + os.path.relpath(path))


def parse(arguments):
    parser = argparse.ArgumentParser(prog='./waf bench', description=__doc__,
                                     formatter_class=argparse.
                                     RawDescriptionHelpFormatter)
    parser.add_argument('what', nargs='?', default='datapath',
                        choices=['datapath', 'growth', 'peers', 'scsi',
                                 'vhdx', 'all', 'report'],
                        help='growth: with more initiators, registrants, '
                             'larger disks; peers: against qemu-nbd and tgt; '
                             'scsi: commands, against tgt; vhdx (or --vhdx): '
                             'the image engine, against qemu')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--seconds', type=float,
                        help='of each run (default: 1; all: 0.25)')
    parser.add_argument('--size', default='512M', metavar='N[MG]',
                        help='of the disks (default: 512M)')
    parser.add_argument('--depths', default=[1, 8, 32], metavar='N,...',
                        type=lambda text: [int(n) for n in text.split(',')],
                        help='queue depths (default: 1,8,32)')
    parser.add_argument('--secure-depths', default=None, metavar='N,...',
                        type=lambda text: [int(n) for n in text.split(',')],
                        help='signed and encrypted (default: as --depths; '
                             'all: 8)')
    parser.add_argument('--security', metavar='WHICH,...',
                        type=lambda t: t.split(','),
                        help='of neither, signed, encrypted '
                             '(default: neither; all: all)')
    parser.add_argument('--quick', action='store_true',
                        help='only show that it runs')
    parser.add_argument('--output', default=RESULTS, metavar='DIR',
                        help='for the JSON (default: build/bench)')
    parser.add_argument('--document', metavar='FILE',
                        help='for the report (default: docs/performance.md)')
    parser.add_argument('--directory', metavar='DIR',
                        help='where the files are made: what file system')
    parser.add_argument('--share-option', metavar='LINE', action='append',
                        default=[], help='as for ./waf selftest')
    parser.add_argument('--global-option', metavar='LINE', action='append',
                        default=[], help='as for ./waf selftest')
    options = parser.parse_args(arguments)
    every = options.what == 'all'
    options.seconds = options.seconds or (0.25 if every else 1)
    options.security = options.security or (
        list(SECURITY) if every else ['neither'])
    if options.secure_depths is None:
        options.secure_depths = [8] if every else options.depths
    unknown = set(options.security) - set(SECURITY)
    if unknown:
        parser.error('what is %s?' % ', '.join(unknown))
    if options.quick:
        options.rounds, options.seconds = 1, 0.05
        options.size, options.depths = '16M', [8]
        options.secure_depths = [8]
    # What goes before each run, and does not count
    options.ramp = min(0.2, options.seconds / 2)
    return options


def beside_smbd(options, arguments):
    """Run this once more, in the environment of ./waf selftest."""
    own = []
    if options.directory:
        own.append('--directory=' + options.directory)
    own += ['--share-option=' + line for line in options.share_option]
    own += ['--global-option=' + line for line in options.global_option]
    os.execv(sys.executable, [sys.executable, '-B', SELFTEST] + own
             + ['--', sys.executable, '-B', os.path.abspath(__file__)]
             + arguments)


def everything(options, arguments):
    """One after the other, each on a server and files of its own."""
    common = [argument for argument in arguments if argument != 'all']
    if not any(argument.startswith('--seconds') for argument in common):
        common.append('--seconds=%g' % options.seconds)
    datapath_only = [
        '--security=' + ','.join(options.security), '--secure-depths='
        + ','.join(str(depth) for depth in options.secure_depths)]
    start = time.monotonic()
    for what in ('datapath', 'peers', 'scsi', 'growth', 'vhdx'):
        print('\n%s' % what, flush=True)
        done = subprocess.run(
            [sys.executable, '-B', os.path.abspath(__file__), what]
            + (datapath_only if what == 'datapath' else []) + common)
        if done.returncode != 0:
            sys.exit('bench: %s failed' % what)
    print('\nall in %.0f s' % (time.monotonic() - start))


def main(arguments):
    arguments = ['vhdx' if a == '--vhdx' else a for a in arguments]
    options = parse(arguments)
    if options.what == 'all':
        everything(options, arguments)
        return
    if options.what == 'report':
        report = importlib.import_module('report')
        report.write(options.output, options.document or report.DOCUMENT)
        return
    if 'SMBD_PID' not in os.environ:
        beside_smbd(options, arguments)
    run(options, shlex.join(['./waf', 'bench'] + arguments))


if __name__ == '__main__':
    main(sys.argv[1:])
