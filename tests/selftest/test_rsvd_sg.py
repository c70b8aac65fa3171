#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
# time-limit: 300
"""
Programs of others on a disk of the real smbd, through rsvd-sg: libiscsi's
conformance suite on two paths, and sg3_utils.

docs/scsi.md says why the suite has a disk of its own.
"""

import json
import os
import re
import shlex
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                '../harness'))

import scsi_suites  # noqa: E402
from scsi_suites import DEVICES  # noqa: E402

SUITE_DISK = ['--size=16M', '--block-size=1M', '--physical-sector-size=512']

# What the suite has wrong on a disk as it comes
SUITE_MISTAKES = {'GetLBAStatus.UnmapSingle', 'MultipathIO.CompareAndWrite'}

INITIATORS = [('node-a', '00000000-0000-4000-8000-00000000000a'),
              ('node-b', '00000000-0000-4000-8000-00000000000b')]
PORT_NAME = 'iqn.2013-08.org.samba:rsvd:%s:%s,i,0x800000000000'

# Exit statuses of sg3_utils
MISCOMPARE, UNIT_ATTENTION, DATA_PROTECT, CONFLICT = 14, 6, 7, 24
ILLEGAL_REQUEST, INVALID_OPCODE = 5, 9

A, B = DEVICES

# What each command has to print, and how it ends when that is not with 0
ABOUT_THE_DISK = [
    (['sg_turs', A], r'^$'),
    (['sg_inq', A], r'Vendor identification: SAMBA'),
    (['sg_luns', A], r'^ +0000000000000000$'),
    (['sg_readcap', A], r'Number of logical blocks=32768'),
    (['sg_readcap', '--long', A], r'lbpme=1, lbprz=1'),
    (['sg_vpd', '--page=sv', A], r'Third party copy'),
    (['sg_vpd', '--page=sn', A], r'Unit serial number: %(serial)s$'),
    (['sg_vpd', '--page=di', A], r'vendor specific: %(serial)s$'),
    (['sg_vpd', '--page=ei', A], r'SIMPSUP=1'),
    (['sg_vpd', '--page=bl', A], r'Maximum unmap LBA count: 1048576'),
    (['sg_vpd', '--page=bdc', A], r'FUAB=1'),
    (['sg_vpd', '--page=lbpv', A], r'Provisioning type: 2 \(thin'),
    (['sg_vpd', '--page=tpc', A], r'Maximum segment descriptor count: 8'),
    (['sg_modes', '--all', A], r'Caching'),
    (['sg_opcodes', A], r'Persistent reserve out'),
    (['sg_opcodes', '--opcode=0x5f,7', A],
     r'Persistent reserve out, register and move'),
    (['sg_rtpg', A], r'AO_SUP : 1'),
    (['sg_logs', '--page=0', A], r'Informational'),
    (['sg_requests', A], r'[Nn]o additional sense'),
    (['sg_senddiag', '--test', A], r''),
    (['sg_copy_results', '--params', A], r'Maximum segment length: 33554432'),
    (['sg_start', '--stop', A], r''),
    (['sg_turs', A], r'^$'),
]

DATA = [
    (['sg_write_same', '--lba=0', '--num=16', '--in=%(ones)s', A], r''),
    (['sg_get_lba_status', A], r'mapped'),
    (['sg_compare_and_write', '--lba=3', '--num=1', '--in=%(swap)s', A],
     r''),
    (['sg_compare_and_write', '--lba=3', '--num=1', '--in=%(swap)s', B], r'',
     MISCOMPARE),
    (['sg_write_same', '--16', '--unmap', '--lba=8', '--num=8',
      '--in=/dev/zero', '--xferlen=512', A], r''),
    (['sg_unmap', '--lba=3', '--num=1', '--force', A], r''),
    (['sg_verify', '--lba=0', '--count=16', A], r''),
    (['sg_sync', A], r''),
    (['sg_read', 'if=' + B, 'bs=512', 'count=16'], r'16\+0 records in'),
    (['sg_write_verify', '--lba=100', '--num=1', '--ilen=512',
      '--in=%(ones)s', A], r''),
    (['sg_write_x', '--atomic=0', '--lba=101', '--num=1', '--in=%(ones)s', A],
     r''),
    (['sg_write_x', '--or', '--lba=102', '--num=1', '--in=%(ones)s', A], r''),
    (['sg_xcopy', 'if=' + A, 'of=' + A, 'bs=512', 'count=3', 'skip=100',
      'seek=200'], r'3 blocks, 1 command'),
    (['sg_verify', '--16', '--lba=202', '--count=1', '--ndo=512',
      '--in=%(ones)s', B], r''),
    (['sg_dd', 'if=%(ones)s', 'of=' + A, 'bs=512', 'seek=300', 'count=1'],
     r'1\+0 records out'),
    (['sg_verify', '--lba=300', '--count=1', '--ndo=512', '--in=%(ones)s', B],
     r''),
    (['sg_verify', '--lba=301', '--count=1', '--ndo=512', '--in=%(ones)s', B],
     r'', MISCOMPARE),
]

# Commands that other devices have, and ways to ask for too much
REFUSED = [
    (['sg_raw', A, '04', '00', '00', '00', '00', '00'], r'', INVALID_OPCODE),
    (['sg_rep_zones', A], r'', INVALID_OPCODE),
    (['sg_stpg', '--active', A], r'Invalid opcode'),
    (['sg_read_buffer', A], r'', INVALID_OPCODE),
    (['sg_ses', A], r'', INVALID_OPCODE),
    (['sg_ident', A], r'', ILLEGAL_REQUEST),
    (['sg_sanitize', '--crypto', '--quick', A], r'', ILLEGAL_REQUEST),
    (['sg_start', '--eject', A], r'', ILLEGAL_REQUEST),
    (['sg_logs', '--page=0xd', A], r'', ILLEGAL_REQUEST),
    (['sg_inq', '--page=0x88', '--raw', A], r'', ILLEGAL_REQUEST),
    (['sg_senddiag', '--selftest=1', A], r'', ILLEGAL_REQUEST),
]


def persist_in(device, action):
    return ['sg_persist', '--in', '--' + action, device]


def persist_out(device, action, key, action_key=0, reservation=0):
    return ['sg_persist', '--out', '--no-inquiry', '--' + action,
            '--param-rk=%x' % key, '--param-sark=%x' % action_key,
            '--prout-type=%d' % reservation, device]


WRITE_TO_A = ['sg_write_same', '--lba=0', '--num=1', '--in=/dev/zero',
              '--xferlen=512', A]

# The fight of two nodes, by every service action
RESERVATIONS = [
    (persist_in(A, 'report-capabilities'),
     r'Persist Through Power Loss Capable\(PTPL_C\): 1'),
    (persist_in(A, 'read-keys'), r'NO registered reservation keys'),
    (persist_out(A, 'register', 0, 0xa), r''),
    (persist_out(B, 'register-ignore', 0, 0xb), r''),
    (persist_in(A, 'read-keys'), r'2 registered.*\n +0xa\n +0xb'),
    (persist_out(A, 'reserve', 0xa, 0, 5), r''),
    (persist_in(B, 'read-reservation'),
     r'Key=0xa\n.*Write Exclusive, registrants only'),
    (persist_out(A, 'release', 0xa, 0, 5), r''),
    # It might write before, but it is told.
    (['sg_turs', B], r'', UNIT_ATTENTION),
    (persist_out(B, 'reserve', 0xb, 0, 1), r''),
    (WRITE_TO_A, r'', CONFLICT),
    (persist_out(A, 'reserve', 0xa, 0, 1), r'', CONFLICT),
    (persist_out(A, 'preempt', 0xa, 0xb, 3), r''),
    (persist_in(A, 'read-full-status'),
     r'Key=0xa\n(.*\n){2}.*Reservation holder.*\n.*Exclusive Access\n(.*\n)*'
     r'.*%(initiator)s'),
    (['sg_turs', B], r'', UNIT_ATTENTION),
    (WRITE_TO_A, r''),
    (persist_out(B, 'register', 0, 0xb), r''),
    (persist_out(A, 'preempt-abort', 0xa, 0xb, 3), r''),
    (['sg_turs', B], r'', UNIT_ATTENTION),
    (persist_in(B, 'read-keys'), r'1 registered.*\n +0xa$'),
    (persist_out(A, 'register-move', 0xa, 0xc, 3)
     + ['--relative-target-port=1', '--transport-id=%(other)s'], r''),
    (persist_in(A, 'read-reservation'), r'Key=0xc\n'),
    (WRITE_TO_A, r'', CONFLICT),
    (persist_out(B, 'clear', 0xc), r''),
    (persist_in(B, 'read-reservation'), r'there is NO reservation held'),
]

ENV = os.environ
TMP = ENV.get('TMPDIR', '/tmp')


def create(name, options):
    path = os.path.join(ENV['LOCAL_PATH'], name)
    subprocess.run(['rsvdctl', 'create'] + options + [path], check=True)
    os.chmod(path, 0o666)
    return json.loads(subprocess.run(
        ['rsvdctl', 'info', '--json', path], stdout=subprocess.PIPE,
        check=True).stdout)


def rsvd_sg(name, command, num_paths=2, user='USERNAME', settings=''):
    """The command beside as many paths to the disk."""
    paths = ['//%s/%s/%s,port=%s,initiator-host-name=%s,initiator-id=%s%s'
             % (ENV['SERVER_IP'], ENV['SHARE'], name, ENV['SERVER_PORT'],
                host, initiator, settings)
             for host, initiator in INITIATORS[:num_paths]]
    return subprocess.run(
        ['rsvd-sg'] + ENV['CONFIGURATION'].split() + ['-U', ENV[user]]
        + paths + ['--'] + command, env=dict(ENV, PASSWD=ENV['PASSWORD']),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors='replace')


def libiscsi():
    create('suite.vhdx', SUITE_DISK)
    output = rsvd_sg('suite.vhdx', scsi_suites.SUITE + DEVICES).stdout
    results = list(scsi_suites.suite_results(output))
    for result in results:
        yield ('libiscsi: ' + result.name, result.passed, result.skipped,
               result.said)
    yield ('libiscsi: 230 tests have run, none has failed',
           scsi_suites.suite_summary(output) == (230, 230, 230, 0), '',
           output[-1000:])
    skips = scsi_suites.skips(results)
    yield ('what the suite skips is what docs/scsi.md says',
           skips == scsi_suites.documented_skips(), '',
           '%s\n%s' % (skips, scsi_suites.documented_skips()))
    exercised = sum(not result.skipped for result in results)
    yield ('more than 140 tests have been exercised', exercised > 140, '',
           str(exercised))


def libiscsi_on_a_disk_as_it_comes():
    create('default.vhdx', ['--size=1G'])
    output = rsvd_sg('default.vhdx', scsi_suites.SUITE + DEVICES).stdout
    results = list(scsi_suites.suite_results(output))
    failed = {result.name for result in results if not result.passed}
    yield ('libiscsi, 1 GiB: nothing fails but what the suite has wrong',
           len(results) == 230 and failed <= SUITE_MISTAKES, '',
           '%s\n%s' % (failed, output[-1000:]))


def libiscsi_sanitize():
    for test in scsi_suites.SANITIZE:
        output = rsvd_sg('suite.vhdx',
                         scsi_suites.sanitize(test) + DEVICES).stdout
        yield ('libiscsi: Sanitize.' + test,
               scsi_suites.suite_summary(output) == (1, 1, 1, 0), '', output)


# Page 0a of the mode parameters with SWP set
SWP_ON = ['sg_wr_mode', '--page=0xa', '--mask=0,0,0,0,8',
          '--contents=0a,0a,02,10,08,0,0,0,0,0,0,0', A]


def libiscsi_read_only():
    """What the suite has for disks that are write-protected."""
    suite = scsi_suites.SUITE[:-1] + ['SCSI.ReadOnly', A]
    for why, output in [
            ('for who may only read',
             rsvd_sg('suite.vhdx', suite, user='READER_USERNAME').stdout),
            ('with SWP', rsvd_sg('suite.vhdx', [
                'sh', '-c', '%s && %s' % (shlex.join(SWP_ON),
                                          shlex.join(suite))]).stdout)]:
        yield ('libiscsi: ReadOnly.ReadOnlySBC, ' + why,
               scsi_suites.suite_summary(output) == (1, 1, 1, 0) and
               'SKIPPED' not in output, '', output)


def file_of(name, data):
    path = os.path.join(TMP, name)
    with open(path, 'wb') as out:
        out.write(data)
    return path


def sg3_utils():
    image = create('sg3.vhdx', SUITE_DISK)
    known = {
        'serial': image['virtual-disk-id'].replace('-', ''),
        'initiator': PORT_NAME % INITIATORS[0],
        'other': PORT_NAME % INITIATORS[1],
        'ones': file_of('ones', b'\xff' * 512),
        'swap': file_of('swap', b'\xff' * 512 + b'\x11' * 512),
    }
    steps = ABOUT_THE_DISK + DATA + REFUSED + RESERVATIONS
    commands = [[word % known for word in step[0]] for step in steps]
    # All in one run: who comes and goes loses its unit attentions.
    script = ''.join('%s\nprintf "\\n--- %%d\\n" $?\n' % shlex.join(command)
                     for command in commands)
    done = rsvd_sg('sg3.vhdx', ['sh', '-c', script])
    answers = re.split(r'\n--- (\d+)\n', done.stdout)
    for step, command, output, status in zip(
            steps, commands, answers[::2], answers[1::2] + ['-1']):
        expected = step[1] % known if '%(' in step[1] else step[1]
        name = ' '.join(os.path.basename(word) for word in command)
        yield (name, int(status) == (step[2] if len(step) > 2 else 0) and
               bool(re.search(expected, output, re.MULTILINE)), '',
               'status %s\n%s' % (status, output))
    yield ('each command has run', len(answers) == 2 * len(steps) + 1, '',
           done.stdout[-1000:])
    read = subprocess.run(
        ['rsvdctl', 'read', '--length=8K',
         os.path.join(ENV['LOCAL_PATH'], 'sg3.vhdx')],
        stdout=subprocess.PIPE, check=True).stdout
    yield ('the image holds what these have written',
           read == (b'\0' * 512 + b'\xff' * 1024 + b'\0' * 512
                    + b'\xff' * 2048 + b'\0' * 4096), '', read.hex())


def wrapper():
    def status_of(command, **options):
        return rsvd_sg('sg3.vhdx', command, **options).returncode

    yield ('the exit status is that of the command',
           status_of(['sh', '-c', 'exit 3']) == 3, '', '')
    yield ('a signal that ended the command is told as a shell does',
           status_of(['sh', '-c', 'kill -9 $$']) == 137, '', '')
    yield ('a command that is not there is 127',
           status_of(['no-such-command']) == 127, '', '')
    yield ('without a command there is a word about it',
           'no command' in rsvd_sg('sg3.vhdx', []).stdout, '', '')
    yield ('a disk that is not there is 125, and the command does not run',
           rsvd_sg('none.vhdx', ['echo', 'ran']).returncode == 125 and
           'ran\n' not in rsvd_sg('none.vhdx', ['echo', 'ran']).stdout, '', '')

    done = rsvd_sg('sg3.vhdx', [
        'sh', '-c', 'sg_persist --out --register --param-sark=1 %s && '
        'sg_persist --in --read-full-status %s' % (A, B)])
    yield ('commands of one run are of one nexus, and seen on the other path',
           done.returncode == 0 and
           PORT_NAME % INITIATORS[0] in done.stdout, '', done.stdout)
    done = rsvd_sg('sg3.vhdx', persist_out(A, 'register', 1))
    yield ('the next run is the same initiator', done.returncode == 0, '',
           done.stdout)

    done = rsvd_sg('sg3.vhdx', ['sg_turs', '/dev/rsvd1'], num_paths=1)
    yield ('a path that was not named is no device',
           done.returncode != 0 and 'No such device' in done.stdout, '',
           done.stdout)
    yield ('nor is it seen',
           status_of(['sh', '-c', 'test -e %s && test ! -e %s' % (A, B)],
                     num_paths=1) == 0 and
           status_of(['test', '-e', B]) == 0, '', '')
    done = rsvd_sg('sg3.vhdx', ['dd', 'if=/dev/zero', 'of=' + A, 'count=1'])
    yield ('what is written to the device as to a file is refused, not lost',
           done.returncode != 0 and 'Invalid argument' in done.stdout, '',
           done.stdout)
    done = rsvd_sg('sg3.vhdx', ['dd', 'if=' + A, 'of=/dev/null', 'count=1'])
    yield ('and so is reading it', done.returncode != 0, '', done.stdout)
    done = rsvd_sg('sg3.vhdx', ['sh', '-c', 'ls -l %s && stat %s && test -c %s'
                                % (A, A, A)])
    yield ('programs see a character device of the SCSI generic driver',
           done.returncode == 0 and done.stdout.startswith('crw-rw----') and
           'Device type: 21,0' in done.stdout, '', done.stdout)

    done = rsvd_sg('sg3.vhdx', WRITE_TO_A, user='READER_USERNAME')
    yield ('who may only read has a write-protected disk',
           done.returncode == DATA_PROTECT, '', done.stdout)
    done = rsvd_sg('sg3.vhdx', ['sg_turs', A], user='READER_USERNAME',
                   settings=',user=%s,password=%s'
                   % (ENV['USERNAME'], ENV['PASSWORD']))
    yield ('a path can have a user of its own', done.returncode == 0, '',
           done.stdout)

    done = rsvd_sg('sg3.vhdx', ['sh', '-c', 'ls /proc/self/fd; cat '
                                '/proc/$PPID/cmdline'], num_paths=1,
                   settings=',user=%s,password=%s'
                   % (ENV['USERNAME'], ENV['PASSWORD']))
    yield ('the command gets no connection of ours, and no password is seen',
           done.stdout.split()[:4] == ['0', '1', '2', '3'] and
           '4' not in done.stdout.split() and
           ENV['PASSWORD'] not in done.stdout, '', done.stdout)


def results():
    why = scsi_suites.missing('iscsi-test-cu')
    if why:
        yield 'libiscsi', True, why, ''
    else:
        yield from libiscsi()
        yield from libiscsi_on_a_disk_as_it_comes()
        yield from libiscsi_sanitize()
        yield from libiscsi_read_only()
    why = scsi_suites.missing('sg_persist')
    if why:
        yield 'sg3_utils', True, why, ''
    else:
        yield from sg3_utils()
        yield from wrapper()


if __name__ == '__main__':
    scsi_suites.tap(results())
