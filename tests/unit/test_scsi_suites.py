#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
# time-limit: 300
"""
Programs of others against the device server alone, on a disk in their own
memory: libiscsi's conformance suite and sg3_utils.

The disk is one that libiscsi 1.19 does not trip over: it compares a block it
has not written with zeros, unless WRITE SAME to the end of the disk, of at
most 32768 blocks, has passed over it; and it takes blocks per physical block
for one in GET LBA STATUS.
"""

import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                '../harness'))

import scsi_suites  # noqa: E402
from scsi_suites import DEVICES  # noqa: E402

BUILD = os.environ.get('BUILD', 'build/default')
LIBRARY = os.path.abspath(BUILD + '/lib/rsvd_sg_local.so')
THIN = {'RSVD_SG_LOCAL_MEGABYTES': '16',
        'RSVD_SG_LOCAL_PHYSICAL_SECTOR_SIZE': '512'}
FIXED = dict(THIN, RSVD_SG_LOCAL_FIXED='1')

# What each command has to print about the disk
SG3_UTILS = [
    ('sg_turs', [], r'^$'),
    ('sg_inq', [], r'Vendor identification: SAMBA'),
    ('sg_luns', [], r'^ +0000000000000000$'),
    ('sg_readcap', ['--long'], r'Number of logical blocks=32768'),
    ('sg_vpd', ['--page=sv'], r'Third party copy'),
    ('sg_vpd', ['--page=sn'], r'0102030405064708890a0b0c0d0e0f10'),
    ('sg_vpd', ['--page=di'], r'0x3808080808084818'),
    ('sg_vpd', ['--page=ei'], r'SIMPSUP=1'),
    ('sg_vpd', ['--page=bl'], r'Maximum unmap LBA count: 1048576'),
    ('sg_vpd', ['--page=bdc'], r'FUAB=1'),
    ('sg_vpd', ['--page=lbpv'], r'Provisioning type: 2 \(thin provisioned'),
    ('sg_vpd', ['--page=tpc'], r'Maximum segment descriptor count: 8'),
    ('sg_modes', ['--all'], r'Caching'),
    ('sg_opcodes', [], r'Persistent reserve out'),
    ('sg_opcodes', ['--opcode=0x5f,7'], r'Persistent reserve out, register and move'),
    ('sg_rtpg', [], r'AO_SUP : 1'),
    ('sg_logs', ['--page=0'], r'Informational'),
    ('sg_requests', [], r'[Nn]o additional sense'),
    ('sg_get_lba_status', [], r'blocks: +32768'),
    ('sg_persist', ['--in', '--read-keys'], r'NO registered reservation keys'),
    ('sg_persist', ['--in', '--report-capabilities'],
     r'Persist Through Power Loss Capable\(PTPL_C\): 1'),
    ('sg_persist', ['--out', '--register', '--param-sark=0x1'], r''),
    ('sg_unmap', ['--lba=8', '--num=8', '--force'], r''),
    ('sg_write_same', ['--lba=8', '--num=8', '--in=/dev/zero',
                       '--xferlen=512'], r''),
    ('sg_sync', [], r''),
    ('sg_verify', ['--lba=0', '--count=16'], r''),
    ('sg_reassign', ['--dummy', '--address=1'], r''),
    ('sg_senddiag', ['--test'], r''),
]


def environment(disk):
    env = dict(os.environ, **disk)
    preload = [LIBRARY]
    needed = subprocess.run(['ldd', LIBRARY], stdout=subprocess.PIPE,
                            text=True, check=True).stdout
    # A sanitizer wants to come before everything else.
    preload[:0] = re.findall(r'=> (\S*lib(?:asan|ubsan)\S*)', needed)
    env['LD_PRELOAD'] = ' '.join(preload)
    # The leaks of these programs are their own.
    env['ASAN_OPTIONS'] = env.get('ASAN_OPTIONS', '') + ':detect_leaks=0'
    return env


def run(command, disk):
    return subprocess.run(command, env=environment(disk),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors='replace')


def libiscsi(name, disk):
    """Each test of the suite is one of ours."""
    done = run(scsi_suites.SUITE + DEVICES, disk)
    for result in scsi_suites.suite_results(done.stdout):
        yield ('libiscsi, %s disk: %s' % (name, result.name), result.passed,
               result.skipped, result.said)
    yield ('libiscsi, %s disk: 230 tests have run, none has failed' % name,
           scsi_suites.suite_summary(done.stdout) == (230, 230, 230, 0),
           '', done.stdout[-1000:])


def libiscsi_sanitize():
    for test in scsi_suites.SANITIZE:
        done = run(scsi_suites.sanitize(test) + DEVICES, THIN)
        yield ('libiscsi: Sanitize.' + test,
               scsi_suites.suite_summary(done.stdout) == (1, 1, 1, 0), '',
               done.stdout)


def sg3_utils():
    for command, arguments, expected in SG3_UTILS:
        name = ' '.join([command] + arguments)
        if scsi_suites.missing(command):
            yield name, True, scsi_suites.missing(command), ''
            continue
        done = run([command] + arguments + DEVICES[:1], THIN)
        yield (name, done.returncode == 0 and
               bool(re.search(expected, done.stdout, re.MULTILINE)), '',
               'status %d\n%s' % (done.returncode, done.stdout))


def results():
    why = scsi_suites.missing('iscsi-test-cu')
    if why:
        yield 'libiscsi', True, why, ''
    else:
        yield from libiscsi('thin', THIN)
        yield from libiscsi('fixed', FIXED)
        yield from libiscsi_sanitize()
    yield from sg3_utils()


if __name__ == '__main__':
    scsi_suites.tap(results())
