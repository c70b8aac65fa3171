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
import shutil
import subprocess

BUILD = os.environ.get('BUILD', 'build/default')
LIBRARY = os.path.abspath(BUILD + '/lib/rsvd_sg_local.so')
DEVICES = ['/dev/rsvd0', '/dev/rsvd1']
THIN = {'RSVD_SG_LOCAL_MEGABYTES': '16',
        'RSVD_SG_LOCAL_PHYSICAL_SECTOR_SIZE': '512'}
FIXED = dict(THIN, RSVD_SG_LOCAL_FIXED='1')

# Tests that SANITIZE, which the suite leaves out unless it is told to
SANITIZE = ['BlockErase', 'ExitFailureMode', 'InvalidServiceAction',
            'Overwrite']

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
    done = run(['iscsi-test-cu', '-d', '-t', 'ALL'] + DEVICES, disk)
    suite = ''
    for match in re.finditer(
            r'^Suite: (\S+)|^  Test: (\S+) \.\.\.(.*?)(?=^Suite:|^  Test:|'
            r'^Run Summary:)', done.stdout, re.MULTILINE | re.DOTALL):
        if match.group(1):
            suite = match.group(1)
            continue
        said = match.group(3)
        skipped = re.search(r'SKIPPED\](.*)', said)
        # It prints [FAILED] where a refusal may be right, too.
        passed = re.search(r'passed\s*$', said)
        yield ('libiscsi, %s disk: %s.%s' % (name, suite, match.group(2)),
               bool(passed),
               skipped.group(1).strip() if skipped else '', said)
    summary = re.search(r'tests +(\d+) +(\d+) +(\d+) +(\d+)', done.stdout)
    yield ('libiscsi, %s disk: 230 tests have run, none has failed' % name,
           bool(summary) and summary.groups() == ('230', '230', '230', '0'),
           '', done.stdout[-1000:])


def libiscsi_sanitize():
    """One by one: of the others one crashes without an iSCSI connection."""
    for test in SANITIZE:
        done = run(['iscsi-test-cu', '-d', '-S', '-t',
                    'SCSI.Sanitize.' + test] + DEVICES, THIN)
        yield ('libiscsi: Sanitize.' + test,
               bool(re.search(r'tests +1 +1 +1 +0', done.stdout)), '',
               done.stdout)


def sg3_utils():
    for command, arguments, expected in SG3_UTILS:
        name = ' '.join([command] + arguments)
        if not shutil.which(command):
            yield name, True, command + ' is not installed', ''
            continue
        done = run([command] + arguments + DEVICES[:1], THIN)
        yield (name, done.returncode == 0 and
               bool(re.search(expected, done.stdout, re.MULTILINE)), '',
               'status %d\n%s' % (done.returncode, done.stdout))


def results():
    if shutil.which('iscsi-test-cu'):
        yield from libiscsi('thin', THIN)
        yield from libiscsi('fixed', FIXED)
        yield from libiscsi_sanitize()
    else:
        yield ('libiscsi', True, 'iscsi-test-cu is not installed', '')
    yield from sg3_utils()


def main():
    number = 0
    for number, (name, passed, skipped, details) in enumerate(results(), 1):
        print('%s %d - %s%s' % ('ok' if passed else 'not ok', number,
                                name.replace('#', ''),
                                ' # SKIP ' + skipped if passed and skipped
                                else ''))
        if not passed:
            print(''.join('# %s\n' % line for line in details.splitlines()),
                  end='')
    print('1..%d' % number)


if __name__ == '__main__':
    main()
