#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
A read or write of a mapped block costs smbd no system call that it would not
make for a plain file: no lock, no second read, no flush. Counted by strace,
so that it does not matter how busy the machine is.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.environ['TOP'], 'tests/bench'))
import bench  # noqa: E402

OPERATIONS = 1000
# What happens once: opening, paging in, the beginning of a session.
ONCE = 50
# A client that waits for half a millisecond is told that it has to, which is
# one more sendmsg: on a busy machine some do. What the code does itself is
# there every time.
ATTEMPTS = 3
# How often threads wait for each other depends on who runs when.
WAITING = {'futex', 'epoll_wait', 'total'}


def traced(target, read_percent):
    """System calls of smbd, by name, while load does its work."""
    counts = os.path.join(os.environ.get('TMPDIR', '/tmp'), 'counts')
    child = subprocess.Popen(
        [os.path.join(os.environ['BUILD'], 'tests/bench/load'), '--wait',
         '--size=16M', '--read-percent=%d' % read_percent,
         '--operations=%d' % OPERATIONS] + target.arguments,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    strace = None
    for line in child.stdout:
        event = json.loads(line)
        if event['event'] == 'connected':
            pid = bench.serving_pid(event['port'])
            strace = subprocess.Popen(
                ['strace', '-f', '-c', '-o', counts, '-p', str(pid)],
                stderr=subprocess.PIPE, text=True)
            if 'attached' not in strace.stderr.readline():
                child.kill()
                return None
            child.stdin.write('\n')
            child.stdin.flush()
        elif event['event'] == 'end':
            strace.send_signal(signal.SIGINT)
            strace.wait()
            child.stdin.close()
    if child.wait() != 0:
        sys.exit('load failed')
    found = {}
    with open(counts) as table:
        for line in table:
            row = re.match(r'\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+\d+)?\s+'
                           r'(\w+)$', line)
            if row and row.group(2) not in WAITING:
                found[row.group(2)] = int(row.group(1))
    return found


def main():
    if not shutil.which('strace'):
        print('1..0 # SKIP strace is not installed')
        return 0
    options = bench.parse(['--size=16M'])
    bench.prepare(options)
    count, failed = 0, False
    for name, read_percent in (('read', 100), ('write', 0)):
        plain = None
        for target in bench.targets():
            more = None
            for _ in range(ATTEMPTS):
                found = traced(target, read_percent)
                if found is None:
                    print('1..0 # SKIP no right to trace')
                    return 0
                more = {call: number - plain.get(call, 0)
                        for call, number in found.items()
                        if number > plain.get(call, 0) + ONCE
                        } if plain else None
                if not more:
                    break
            if plain is None:
                plain = found
                continue
            count += 1
            failed = failed or bool(more)
            if more:
                print('# in %d operations: %s more' % (OPERATIONS, more))
            print('%s %d - a %s of a %s makes no more system calls than one '
                  'of a plain file' % ('not ok' if more else 'ok', count, name,
                                       target.name), flush=True)
    print('1..%d' % count)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
