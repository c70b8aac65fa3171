#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
tshark, which knows MS-RSVD from somewhere else than we do, understands every
operation that a client of ours sends and every answer of the module.
"""

import os
import shutil
import subprocess
import sys

OPERATIONS = {
    0x02001001: 'GET_INITIAL_INFO',
    0x02001002: 'SCSI',
    0x02001003: 'CHECK_CONNECTION_STATUS',
    0x02001004: 'SRB_STATUS',
    0x02001005: 'GET_DISK_INFO',
    0x02001006: 'VALIDATE_DISK',
    0x02002101: 'META_OPERATION_START',
    0x02002002: 'META_OPERATION_QUERY_PROGRESS',
    0x02002005: 'VHDSET_QUERY_INFORMATION',
    0x02002006: 'DELETE_SNAPSHOT',
    0x02002008: 'CHANGE_TRACKING_GET_PARAMETERS',
    0x02002009: 'CHANGE_TRACKING_START',
    0x0200200A: 'CHANGE_TRACKING_STOP',
    0x0200200C: 'QUERY_VIRTUAL_DISK_CHANGES',
    0x0200200D: 'QUERY_SAFE_SIZE',
}

# What tshark 4.0 itself gets wrong.
KNOWN = [
    # It stops at SrbStatus, of any server.
    'Incompatible use of proto_tree_add_bits_ret_val with field '
    "'rsvd.svhdx_srb_status_srb_status'",
    # It takes InitiatorHostName for ASCII; it is Unicode (MS-RSVD 2.2.4.12).
    'Trailing stray characters',
]

OURS = 'rsvd || smb2.svhdx_open_device_context.version || ' \
       'smb2.ioctl.function == 0x00090300'

OPEN_CONTEXT = 'smb2.svhdx_open_device_context.'
IOCTL_TUNNEL = ('0x00090304', '0x00090364')

count = 0
failed = False


def test(ok, sentence, *details):
    global count, failed
    count += 1
    for detail in details if not ok else ():
        print('# %s' % (detail,))
    print('%s %d - %s' % ('ok' if ok else 'not ok', count, sentence),
          flush=True)
    failed = failed or not ok


def tshark(capture, display_filter, *fields):
    """The fields of the packets that match, a tuple for each."""
    command = ['tshark', '-r', capture, '-n', '-d',
               'tcp.port==%s,nbss' % os.environ['SERVER_PORT'],
               '-Y', display_filter, '-T', 'fields', '-E', 'separator=\t']
    for field in fields:
        command += ['-e', field]
    found = subprocess.run(command, stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True, check=True)
    return [tuple(line.split('\t')) for line in found.stdout.splitlines()]


def record(capture, version):
    image = 'version%d.vhdx' % version
    subprocess.run(['rsvdctl', 'create', '--size=16M', '--block-size=1M',
                    os.path.join(os.environ['LOCAL_PATH'], image)],
                   check=True)
    return subprocess.call(
        [sys.executable, 'tests/harness/record.py', capture,
         os.path.join(os.environ['BUILD'], 'tests/selftest/every_operation'),
         image, str(version)])


def complaints(capture):
    """All that tshark finds wrong in packets of ours."""
    found = []
    for frame, message, malformed in tshark(
            capture, '(%s) && (_ws.malformed || _ws.expert)' % OURS,
            'frame.number', '_ws.expert.message', '_ws.malformed'):
        if not any(known in message for known in KNOWN):
            found.append('packet %s: %s %s' % (frame, message, malformed))
    return found


def test_tunnel(capture):
    requests, answers = {}, {}
    for response, status, operation in tshark(
            capture, 'smb2.cmd == 11 && (%s)' % ' || '.join(
                'smb2.ioctl.function == ' + f for f in IOCTL_TUNNEL),
            'smb2.flags.response', 'smb2.nt_status',
            'rsvd.svhdx_operation_code'):
        if not operation:
            continue
        where = answers if response in ('1', 'True') else requests
        code = int(operation, 16)
        where[code] = where.get(code, 0) + 1
    errors = len(tshark(capture, 'smb2.cmd == 11 && smb2.flags.response == 1 '
                        '&& smb2.nt_status != 0 && smb2.nt_status != 0x103',
                        'frame.number'))

    for code, name in OPERATIONS.items():
        test(requests.get(code, 0) > 0, 'tshark decodes the request ' + name)
    unknown = set(requests) | set(answers)
    unknown -= set(OPERATIONS)
    test(not unknown, 'tshark sees no operation that does not exist', unknown)
    test(sum(requests.values()) == sum(answers.values()) + errors,
         'every request has an answer that tshark decodes, or an error',
         requests, answers, errors)


def main():
    if not shutil.which('tshark'):
        print('1..0 # SKIP tshark is not installed')
        return 0
    directory = os.environ.get('TMPDIR', '/tmp')
    for version in (1, 2):
        capture = os.path.join(directory, 'version%d.pcap' % version)
        test(record(capture, version) == 0,
             'a client of version %d sends every operation' % version)
        found = complaints(capture)
        test(not found, 'tshark finds no packet of version %d malformed'
             % version, *found)

    opens = tshark(capture, OPEN_CONTEXT + 'version', 'smb2.flags.response',
                   OPEN_CONTEXT + 'version', OPEN_CONTEXT + 'virtual_size',
                   OPEN_CONTEXT + 'virtual_sector_size')
    test([fields[1] for fields in opens] == ['2', '2']
         and opens[1][2:] == ('16777216', '512'),
         'tshark reads the size of the disk in the answer to the open', opens)
    info = tshark(capture, 'rsvd.svhdx_file_info_virtual_size',
                  'rsvd.svhdx_file_info_server_version',
                  'rsvd.svhdx_file_info_sector_size',
                  'rsvd.svhdx_file_info_physical_sector_size',
                  'rsvd.svhdx_file_info_virtual_size')
    test(info == [('2', '512', '4096', '16777216')],
         'tshark reads what GET_INITIAL_INFO answers', info)
    info = tshark(capture, 'rsvd.svhdx_disk_info_disk_type && '
                  'smb2.flags.response == 1',
                  'rsvd.svhdx_disk_info_disk_type',
                  'rsvd.svhdx_disk_info_disk_format',
                  'rsvd.svhdx_disk_info_blocksize')
    test([tuple(int(field, 0) for field in fields) for fields in info]
         == [(3, 3, 1 << 20)], 'tshark reads what GET_DISK_INFO answers',
         info)
    test_tunnel(capture)
    print('1..%d' % count)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
