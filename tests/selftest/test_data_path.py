#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
#
# selftest-options: --share='[behind]\npath = %LOCAL_PATH%\nread only = no\nvfs objects = rsvd time_audit'
"""
A read or write of a mapped block costs smbd no system call that it would not
make for a plain file: no lock, no second read, no flush. What the page cache
has, or takes, needs no thread, unless another module has to be asked. Counted
by strace, so that it does not matter how busy the machine is.
"""

import collections
import errno
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

MIB = 1024 * 1024
OPERATIONS = 1000
# What happens once: opening, paging in, the beginning of a session.
ONCE = 50
# A client that waits for half a millisecond is told that it has to, which is
# one more sendmsg: on a busy machine some do. What the code does itself is
# there every time.
ATTEMPTS = 3
# How often threads wait for each other depends on who runs when.
WAITING = {'futex', 'epoll_wait', 'total'}
# The same with one flag more, and by a thread
AT_ONCE = {'preadv2': 'pread64', 'pwritev2': 'pwrite64'}


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
            row = re.match(r'\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+(\d+))?'
                           r'\s+(\w+)$', line)
            if row and row.group(3) not in WAITING:
                call, number = row.group(3), int(row.group(1))
                if call in AT_ONCE:
                    # Those that would have had to wait have done nothing.
                    number -= int(row.group(2) or 0)
                found[call] = number
    return found


def more_than(plain, found):
    """What there is more of in *found*."""
    total = collections.Counter()
    for call, number in found.items():
        total[AT_ONCE.get(call, call)] += number
    return {call: number - plain.get(call, 0)
            for call, number in total.items()
            if number > plain.get(call, 0) + ONCE}


def can_be_at_once(path, call):
    """Does this file system know RWF_NOWAIT?"""
    with open(path, 'rb+', buffering=0) as file:
        try:
            data = bytearray(os.pread(file.fileno(), 4096, MIB))
            if call == 'preadv2':
                os.preadv(file.fileno(), [data], MIB, os.RWF_NOWAIT)
            else:
                os.pwritev(file.fileno(), [data], MIB, os.RWF_NOWAIT)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return False
    return True


class Tap:
    """What was tested."""

    def __init__(self):
        self.count = 0
        self.failed = False

    def report(self, sentence, problem, skip=None):
        """One line; *problem* says what is wrong, if anything is."""
        self.count += 1
        if problem:
            self.failed = True
            print('# ' + problem)
        print('%s %d - %s%s' % ('not ok' if problem else 'ok', self.count,
                                sentence, ' # SKIP ' + skip if skip else ''),
              flush=True)


def check_at_once(tap, target, name, call, found):
    sentence = ('a %s of a %s is done without a thread'
                % (name, target.name))
    path = os.path.join(os.environ['LOCAL_PATH'], target.arguments[-1]
                        .partition('=')[2])
    if not can_be_at_once(path, call):
        tap.report(sentence, None, 'this file system cannot')
        return
    # A write may have to wait, as for the time of last change to be stored.
    enough = OPERATIONS - ONCE if call == 'preadv2' else OPERATIONS // 2
    tap.report(sentence, None if found.get(call, 0) >= enough
               else '%s' % found)


def main():
    if not shutil.which('strace'):
        print('1..0 # SKIP strace is not installed')
        return 0
    options = bench.parse(['--size=16M'])
    bench.prepare(options)
    tap = Tap()
    behind = bench.Target('-', 'disk with a module behind ours',
                          ['--share=behind', '--path=fixed.vhdx'])
    for name, read_percent, call in (('read', 100, 'preadv2'),
                                     ('write', 0, 'pwritev2')):
        plain = None
        for target in bench.targets() + [behind]:
            for _ in range(ATTEMPTS):
                found = traced(target, read_percent)
                if found is None:
                    print('1..0 # SKIP no right to trace')
                    return 0
                more = more_than(plain, found) if plain else None
                if not more:
                    break
            if plain is None:
                plain = found
                continue
            tap.report('a %s of a %s makes no more system calls than one of a '
                       'plain file' % (name, target.name),
                       'in %d operations: %s more' % (OPERATIONS, more)
                       if more else None)
            if target is behind:
                tap.report('the module behind ours is asked for each %s' % name,
                           '%s' % found if found.get(call) else None)
            else:
                check_at_once(tap, target, name, call, found)
    print('1..%d' % tap.count)
    return 1 if tap.failed else 0


if __name__ == '__main__':
    sys.exit(main())
