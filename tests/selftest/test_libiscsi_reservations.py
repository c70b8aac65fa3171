#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
# time-limit: 120
"""
The tests of reservations of libiscsi's suite, on two initiators of a disk of
the real smbd.

The suite has them for iSCSI sessions only: tests/harness/iscsi_as_sg.c has it
take the devices of rsvd-sg for such.
"""

import os
import shlex
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                '../harness'))

import scsi_suites  # noqa: E402

ENV = os.environ
SOURCE = os.path.join(ENV['TOP'], 'tests/harness/iscsi_as_sg.c')
LIBRARY = os.path.join(ENV.get('TMPDIR', '/tmp'), 'iscsi_as_sg.so')

# The others of Reserve6 and Sanitize reset iSCSI sessions or end them, or
# change PDUs on their way.
TESTS = ['PrinReadKeys', 'PrinServiceactionRange', 'PrinReportCapabilities',
         'ProutRegister', 'ProutReserve', 'ProutClear', 'ProutPreempt',
         'Reserve6.Simple', 'Reserve6.2Initiators', 'Sanitize.Reservations',
         'Sanitize.Readonly']


def build():
    """Why there is no library, or nothing."""
    done = subprocess.run(
        shlex.split(ENV.get('CC', 'cc'))
        + ['-D_GNU_SOURCE', '-Wall', '-Werror', '-shared', '-fPIC', '-o',
           LIBRARY, SOURCE, '-liscsi', '-ldl'],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode == 0:
        return ''
    if 'iscsi/iscsi.h' in done.stdout:
        return 'libiscsi-dev is not installed'
    sys.exit(done.stdout)


def run(test):
    path = '//%s/%s/fight.vhdx' % (ENV['SERVER_IP'], ENV['SHARE'])
    suite = ['iscsi-test-cu', '-d', '-S', '-t', 'ALL.' + test,
             'iscsi://127.0.0.1/rsvd0/0', 'iscsi://127.0.0.1/rsvd1/0']
    return subprocess.run(
        ['rsvd-sg'] + ENV['CONFIGURATION'].split()
        + ['-U', ENV['USERNAME'], '-p', ENV['SERVER_PORT'],
           path + ',initiator-id=random', path + ',initiator-id=random',
           '--', 'sh', '-c', 'LD_PRELOAD=%s:$LD_PRELOAD exec %s'
           % (shlex.quote(LIBRARY), shlex.join(suite))],
        env=dict(ENV, PASSWD=ENV['PASSWORD']), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors='replace').stdout


def results():
    why = scsi_suites.missing('iscsi-test-cu') or build()
    if why:
        yield 'libiscsi: reservations', True, why, ''
        return
    image = os.path.join(ENV['LOCAL_PATH'], 'fight.vhdx')
    subprocess.run(['rsvdctl', 'create', '--size=16M', '--block-size=1M',
                    '--physical-sector-size=512', image], check=True)
    os.chmod(image, 0o666)
    for test in TESTS:
        output = run(test)
        found = list(scsi_suites.suite_results(output))
        for result in found:
            # That there is no CRYPTO ERASE skips a part of some.
            yield ('libiscsi: ' + result.name, result.passed,
                   '' if 'CRYPTO' in result.skipped else result.skipped,
                   output)
        if not found:
            yield 'libiscsi: ' + test, False, '', output


if __name__ == '__main__':
    scsi_suites.tap(results())
