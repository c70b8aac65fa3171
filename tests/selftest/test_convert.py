#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
# time-limit: 200
"""
rsvdctl convert: an image of what raw files, VHDs, other VHDXs and disks on a
server hold. What comes out is read by qemu.
"""

import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import uuid

SIZE = 32 << 20
MIB = 1 << 20
PATIENCE_SEC = 60

TESTS = []
TMP = None


class Skip(Exception):
    pass


def test(function):
    """A test; what its name says is what it proves."""
    TESTS.append(function)
    return function


def path(name):
    return os.path.join(TMP, name)


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE,
                          timeout=PATIENCE_SEC).stdout


def fails(text, *command):
    result = subprocess.run(command, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, timeout=PATIENCE_SEC)
    message = result.stderr.decode()
    assert result.returncode == 1, result
    assert text in message, message


def convert(source, *options):
    """Convert; what qemu and our own check make of the result."""
    target = path('converted.vhdx')
    if os.path.exists(target):
        os.unlink(target)
    run('rsvdctl', 'convert', '--block-size=1M', *options, source, target)
    run('rsvdctl', 'check', target)
    run('qemu-img', 'check', '-f', 'vhdx', target)
    run('qemu-img', 'convert', '-f', 'vhdx', '-O', 'raw', target,
        path('back.raw'))
    with open(path('back.raw'), 'rb') as f:
        return f.read()


def allocated():
    with_json = run('rsvdctl', 'info', '--json', path('converted.vhdx'))
    return int(re.search(rb'"allocated-blocks": (\d+)', with_json).group(1))


def sparse_data():
    """A MiB of data at 3 MiB, half a block at 20, a sector at the end."""
    data = bytearray(SIZE)
    rng = random.Random(2)
    data[3 * MIB:4 * MIB] = rng.randbytes(MIB)
    data[20 * MIB:20 * MIB + MIB // 2] = rng.randbytes(MIB // 2)
    data[-512:] = rng.randbytes(512)
    return bytes(data)


def raw_file(data, name='source.raw'):
    """With holes where it has zeros."""
    with open(path(name), 'wb') as f:
        f.truncate(len(data))
        for start in range(0, len(data), 65536):
            piece = data[start:start + 65536]
            if piece.count(0) != len(piece):
                f.seek(start)
                f.write(piece)
    return path(name)


@test
def a_raw_file_becomes_what_it_holds_and_no_more():
    data = sparse_data()
    assert convert(raw_file(data)) == data
    assert allocated() == 3


@test
def zeros_that_are_no_holes_are_not_written_either():
    data = sparse_data()
    with open(path('source.raw'), 'wb') as f:
        f.write(data)
    assert convert(path('source.raw')) == data
    assert allocated() == 3


@test
def a_fixed_image_has_all_blocks():
    data = sparse_data()
    assert convert(raw_file(data), '--type=fixed') == data
    assert allocated() == SIZE // MIB


@test
def half_a_sector_at_the_end_is_filled_up():
    data = sparse_data() + b'tail'
    assert convert(raw_file(data)) == data + bytes(508)


@test
def the_sector_size_can_be_another():
    data = sparse_data()
    # Not read by qemu, which does not know such images.
    run('rsvdctl', 'convert', '--sector-size=4096', raw_file(data),
        path('4k.vhdx'))
    assert run('rsvdctl', 'read', path('4k.vhdx')) == data
    assert b'"sector-size": 4096' in run('rsvdctl', 'info', '--json',
                                         path('4k.vhdx'))


@test
def vhd_and_vhdx_of_qemu_are_recognized():
    data = sparse_data()
    raw = raw_file(data)
    for format_, subformat in (('vpc', 'fixed'), ('vpc', 'dynamic'),
                               ('vhdx', 'fixed'), ('vhdx', 'dynamic')):
        options = 'subformat=' + subformat
        if format_ == 'vpc':
            # Without, qemu rounds up to cylinders.
            options += ',force_size=on'
        run('qemu-img', 'convert', '-f', 'raw', '-O', format_, '-o', options,
            raw, path('qemu'))
        assert convert(path('qemu')) == data, (format_, subformat)
        assert allocated() == 3, (format_, subformat)


def checksum(block):
    return ~sum(block) & 0xFFFFFFFF


def vhd_child(parent, name, changes, parent_id=None):
    """
    A differencing VHD of another: the format's specification, "Hard Disk
    Footer Format", "Dynamic Disk Header Format", "Block Allocation Table".
    """
    with open(parent, 'rb') as f:
        footer = bytearray(f.read(512))
    assert footer[:8] == b'conectix'
    parent_id = parent_id or footer[68:84]
    size = struct.unpack('>Q', footer[48:56])[0]

    footer[60:64] = struct.pack('>I', 4)		# Disk Type: differencing
    footer[64:68] = bytes(4)
    footer[68:84] = uuid.uuid4().bytes
    footer[64:68] = struct.pack('>I', checksum(footer))

    block_size = 2 * MIB
    entries = (size + block_size - 1) // block_size
    parent_name = os.path.basename(parent)
    header = bytearray(1024)
    header[0:8] = b'cxsparse'
    header[8:16] = b'\xff' * 8
    header[16:24] = struct.pack('>Q', 1536)		# Table Offset
    header[24:28] = struct.pack('>I', 0x00010000)
    header[28:32] = struct.pack('>I', entries)
    header[32:36] = struct.pack('>I', block_size)
    header[40:56] = parent_id
    header[64:64 + 2 * len(parent_name)] = parent_name.encode('utf-16-be')
    header[36:40] = struct.pack('>I', checksum(header))

    bat = [0xFFFFFFFF] * entries
    first = 1536 + (entries * 4 + 511) // 512 * 512
    blocks = b''
    for offset, data in changes.items():
        bitmap = bytearray(512)
        payload = bytearray(block_size)
        number, within = divmod(offset, block_size)
        payload[within:within + len(data)] = data
        for sector in range(within // 512, (within + len(data)) // 512):
            bitmap[sector // 8] |= 0x80 >> sector % 8
        bat[number] = (first + len(blocks)) // 512
        blocks += bytes(bitmap) + bytes(payload)

    with open(path(name), 'wb') as f:
        f.write(footer + header)
        f.write(struct.pack('>%dI' % entries, *bat).ljust(first - 1536,
                                                          b'\xff'))
        f.write(blocks + footer)
    return path(name)


def chain():
    """
    parent.vhd, child.vhd, grandchild.vhd: what the last one holds. It has
    runs of sectors that begin and end within a byte of its bitmap.
    """
    data = bytearray(sparse_data())
    run('qemu-img', 'convert', '-f', 'raw', '-O', 'vpc', '-o',
        'subformat=dynamic,force_size=on', raw_file(bytes(data)),
        path('parent.vhd'))
    vhd_child(path('parent.vhd'), 'child.vhd', {3 * MIB: b'c' * 4096,
                                                10 * MIB: b'd' * 512})
    vhd_child(path('child.vhd'), 'grandchild.vhd', {3 * MIB + 512: b'e' * 1024})
    data[3 * MIB:3 * MIB + 4096] = \
        b'c' * 512 + b'e' * 1024 + b'c' * 2560
    data[10 * MIB:10 * MIB + 512] = b'd' * 512
    return bytes(data)


@test
def a_chain_of_differencing_vhds_becomes_one_image():
    data = chain()
    assert convert(path('grandchild.vhd')) == data
    assert allocated() == 4


@test
def a_chain_with_a_missing_link_is_refused():
    chain()
    os.rename(path('parent.vhd'), path('elsewhere.vhd'))
    fails('put parent.vhd beside it', 'rsvdctl', 'convert',
          path('grandchild.vhd'), path('none.vhdx'))
    assert not os.path.exists(path('none.vhdx'))


@test
def a_parent_that_is_another_is_refused():
    chain()
    vhd_child(path('parent.vhd'), 'child.vhd', {0: b'x' * 512})
    fails('not the parent', 'rsvdctl', 'convert', path('grandchild.vhd'),
          path('none.vhdx'))
    assert not os.path.exists(path('none.vhdx'))


@test
def a_chain_of_differencing_vhdxs_becomes_one_image():
    data = bytearray(sparse_data())
    os.mkdir(path('base'))
    run('rsvdctl', 'convert', '--block-size=1M', raw_file(bytes(data)),
        path('base/parent.vhdx'))
    for parent, child, offset in (('base/parent.vhdx', 'child.vhdx', 3 * MIB),
                                  ('child.vhdx', 'grand.vhdx', 10 * MIB)):
        run('rsvdctl', 'create', '--parent=' + path(parent), path(child))
        piece = child.encode() * 512
        data[offset:offset + len(piece)] = piece
        with open(path('piece'), 'wb') as f:
            f.write(piece)
        run('rsvdctl', 'write', '--input=' + path('piece'),
            '--offset=%d' % offset, path(child))
    assert convert(path('grand.vhdx')) == data
    assert allocated() == 4
    info = run('rsvdctl', 'info', path('child.vhdx')).decode()
    assert 'parent:               %s\n' % path('base/parent.vhdx') in info
    # Where it is: in the grandchild, its parent and the parent of that.
    entries = json.loads(run('rsvdctl', 'map', '--json', path('grand.vhdx')))
    files = ('grand.vhdx', 'child.vhdx', 'base/parent.vhdx')
    assert {e['depth'] for e in entries if e['data']} == {0, 1, 2}
    for e in entries:
        place = slice(e['start'], e['start'] + e['length'])
        if not e['data']:
            assert data[place].count(0) == e['length'], e
            continue
        with open(path(files[e['depth']]), 'rb') as f:
            f.seek(e['offset'])
            assert f.read(e['length']) == data[place], e


@test
def a_vhdx_that_is_open_for_writing_is_no_source_and_no_parent():
    run('rsvdctl', 'create', '--size=4M', path('busy.vhdx'))
    with open(path('busy.vhdx'), 'r+b'):
        fails('is open for writing', 'rsvdctl', 'convert', path('busy.vhdx'),
              path('none.vhdx'))
        fails('is open for writing', 'rsvdctl', 'create',
              '--parent=' + path('busy.vhdx'), path('none.vhdx'))
    assert not os.path.exists(path('none.vhdx'))
    # Readers are no harm.
    with open(path('busy.vhdx'), 'rb'):
        run('rsvdctl', 'create', '--parent=' + path('busy.vhdx'),
            path('child.vhdx'))
        run('rsvdctl', 'convert', path('busy.vhdx'), path('copy.vhdx'))


@test
def a_vhdx_whose_parent_was_written_to_is_refused():
    run('rsvdctl', 'convert', raw_file(sparse_data()), path('parent.vhdx'))
    run('rsvdctl', 'create', '--parent=' + path('parent.vhdx'),
        path('child.vhdx'))
    with open(path('piece'), 'wb') as f:
        f.write(b'x' * 512)
    run('rsvdctl', 'write', '--input=' + path('piece'), path('parent.vhdx'))
    fails('parent', 'rsvdctl', 'convert', path('child.vhdx'),
          path('none.vhdx'))


def change_vhd(name, in_footer=None, in_header=None):
    """Put bytes into the footer, its copy, and the header of a VHD."""
    with open(path(name), 'r+b') as f:
        f.seek(0)
        footer, header = bytearray(f.read(512)), bytearray(f.read(1024))
        for offset, value in (in_footer or {}).items():
            footer[offset:offset + len(value)] = value
        for offset, value in (in_header or {}).items():
            header[offset:offset + len(value)] = value
        footer[64:68] = bytes(4)
        footer[64:68] = struct.pack('>I', checksum(footer))
        header[36:40] = bytes(4)
        header[36:40] = struct.pack('>I', checksum(header))
        f.seek(0)
        f.write(footer + header)
        f.seek(-512, os.SEEK_END)
        f.write(footer)


@test
def a_vhd_that_is_its_own_parent_is_refused():
    chain()
    with open(path('parent.vhd'), 'rb') as f:
        parent_id = f.read(84)[68:]
    # parent.vhd, of which grandchild.vhd is the parent in turn
    os.unlink(path('parent.vhd'))
    shutil.copy(path('grandchild.vhd'), path('parent.vhd'))
    change_vhd('parent.vhd', {68: parent_id})
    fails('is its own parent', 'rsvdctl', 'convert', path('grandchild.vhd'),
          path('none.vhdx'))
    assert not os.path.exists(path('none.vhdx'))


@test
def a_vhd_of_an_impossible_size_is_refused():
    # Current Size: so many bytes that the blocks of them would be none
    for size in (b'\xff' * 6 + b'\xfe\x00',
                 struct.pack('>Q', 64 << 40 | 512)):
        chain()
        change_vhd('parent.vhd', {48: size}, {28: bytes(4)})
        fails('its size is not possible', 'rsvdctl', 'convert',
              path('grandchild.vhd'), path('none.vhdx'))


@test
def sectors_that_the_bitmap_of_a_dynamic_vhd_has_not_are_zeros():
    data = bytearray(sparse_data())
    run('qemu-img', 'convert', '-f', 'raw', '-O', 'vpc', '-o',
        'subformat=dynamic,force_size=on', raw_file(bytes(data)),
        path('dynamic.vhd'))
    with open(path('dynamic.vhd'), 'r+b') as f:
        # The second block has 2 to 4 MiB; the bitmap is where it begins.
        f.seek(1536 + 4)
        block = struct.unpack('>I', f.read(4))[0] * 512
        f.seek(block + MIB // 512 // 8)
        f.write(b'\xb7')
    for sector in (1, 4):
        data[3 * MIB + sector * 512:3 * MIB + (sector + 1) * 512] = bytes(512)
    assert convert(path('dynamic.vhd')) == data


def libvhdi_reads(*names):
    """What libvhdi has of a VHD, followed by its parents."""
    try:
        import pyvhdi
    except ImportError:
        raise Skip('no python3-libvhdi')
    chain = []
    for name in names:
        vhd = pyvhdi.file()
        vhd.open(path(name))
        assert vhd.get_media_size() == SIZE
        chain.append(vhd)
    for child, parent in zip(chain, chain[1:]):
        child.set_parent(parent)
    return b''.join(chain[0].read_buffer_at_offset(MIB, offset)
                    for offset in range(0, SIZE, MIB))


@test
def libvhdi_reads_the_same_of_a_vhd_without_parents():
    raw = raw_file(sparse_data())
    for subformat in ('fixed', 'dynamic'):
        run('qemu-img', 'convert', '-f', 'raw', '-O', 'vpc', '-o',
            'force_size=on,subformat=' + subformat, raw, path('other.vhd'))
        assert libvhdi_reads('other.vhd') == convert(path('other.vhd'))


@test
def libvhdi_reads_the_same_of_a_chain():
    chain()
    # Whole bytes of the bitmap only: others it misreads, see rsvdctl_vhd.c.
    vhd_child(path('parent.vhd'), 'child.vhd', {3 * MIB: b'c' * 16384,
                                                10 * MIB: b'd' * 4096})
    vhd_child(path('child.vhd'), 'grandchild.vhd', {3 * MIB + 4096:
                                                    b'e' * 8192})
    data = convert(path('grandchild.vhd'))
    assert b'c' * 4096 + b'e' * 8192 + b'c' * 4096 in data
    assert libvhdi_reads('grandchild.vhd', 'child.vhd', 'parent.vhd') == data


@test
def a_vhd_with_a_wrong_checksum_is_refused():
    chain()
    with open(path('parent.vhd'), 'r+b') as f:
        # The dynamic header, which follows the copy of the footer
        f.seek(512 + 700)
        f.write(b'X')
    fails('no valid header', 'rsvdctl', 'convert', path('parent.vhd'),
          path('none.vhdx'))


@test
def no_damage_to_a_vhd_makes_it_crash():
    chain()
    with open(path('grandchild.vhd'), 'rb') as f:
        good = f.read()
    rng = random.Random(3)
    interesting = [0, 1, 0x7F, 0x80, 0xFF]
    for _ in range(80):
        bad = bytearray(good)
        # Footer and header with a right checksum, or they are not looked at.
        where = rng.choice(['footer', 'header', 'table', 'bitmap'])
        for _ in range(rng.randint(1, 8)):
            value = rng.choice(interesting + [rng.randrange(256)])
            if where == 'footer':
                bad[rng.randrange(16, 84)] = value
            elif where == 'header':
                bad[512 + rng.choice([rng.randrange(8, 36),
                                      rng.randrange(40, 96)])] = value
            elif where == 'table':
                bad[1536 + rng.randrange(64)] = value
            else:
                bad[2048 + rng.randrange(512)] = value
        bad[64:68] = bytes(4)
        bad[64:68] = struct.pack('>I', checksum(bad[:512]))
        bad[512 + 36:512 + 40] = bytes(4)
        bad[512 + 36:512 + 40] = struct.pack('>I', checksum(bad[512:1536]))
        bad[-512:] = bad[:512]
        with open(path('bad.vhd'), 'wb') as f:
            f.write(bad)
        result = subprocess.run(['rsvdctl', 'convert', path('bad.vhd'),
                                 path('bad.vhdx')], stderr=subprocess.PIPE,
                                timeout=PATIENCE_SEC)
        assert result.returncode in (0, 1), result
        assert b'Sanitizer' not in result.stderr, result
        if result.returncode == 0:
            os.unlink(path('bad.vhdx'))


@test
def the_copy_serves_when_the_footer_is_gone():
    data = chain()
    with open(path('grandchild.vhd'), 'r+b') as f:
        f.truncate(os.path.getsize(path('grandchild.vhd')) - 512)
    assert convert(path('grandchild.vhd')) == data


@test
def a_damaged_source_leaves_no_half_an_image():
    run('rsvdctl', 'create', '--size=4M', path('damaged.vhdx'))
    with open(path('damaged.vhdx'), 'r+b') as f:
        # The region tables, MS-VHDX 2.2.3
        for offset in (192 << 10, 256 << 10):
            f.seek(offset)
            f.write(b'X' * 16)
    fails('cannot open', 'rsvdctl', 'convert', path('damaged.vhdx'),
          path('none.vhdx'))
    assert not os.path.exists(path('none.vhdx'))


@test
def a_file_that_is_there_is_not_overwritten():
    with open(path('there'), 'w') as f:
        f.write('precious')
    fails('File exists', 'rsvdctl', 'convert', raw_file(bytes(MIB)),
          path('there'))
    with open(path('there')) as f:
        assert f.read() == 'precious'


@test
def a_disk_on_a_server_is_backed_up():
    data = sparse_data()
    image = os.path.join(os.environ['LOCAL_PATH'], 'convert.vhdx')
    run('rsvdctl', 'convert', '--block-size=1M', raw_file(data), image)
    unc = '//%s/%s/convert.vhdx' % (os.environ['SERVER_IP'],
                                    os.environ['SHARE'])
    assert convert(unc, '-p', os.environ['SERVER_PORT'], '-U', '%s%%%s' % (
        os.environ['USERNAME'], os.environ['PASSWORD']),
        *os.environ['CONFIGURATION'].split()) == data
    assert allocated() == 3


class HaltingProxy:
    """A way to the server on which nothing goes once a file is there."""

    def __init__(self, name):
        self.name = name
        self.halted = threading.Event()
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        client = self.listener.accept()[0]
        server = socket.create_connection(
            (os.environ['SERVER_IP'], int(os.environ['SERVER_PORT'])))
        threading.Thread(target=self.copy, args=(server, client),
                         daemon=True).start()
        self.copy(client, server, halts=True)

    def copy(self, source, destination, halts=False):
        while True:
            data = source.recv(65536)
            if not data:
                return
            if halts and os.path.exists(self.name):
                self.halted.set()
                return
            destination.sendall(data)


@test
def a_conversion_that_is_interrupted_leaves_no_half_an_image():
    image = os.path.join(os.environ['LOCAL_PATH'], 'interrupt.vhdx')
    run('rsvdctl', 'convert', '--block-size=1M', raw_file(sparse_data()),
        image)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        proxy = HaltingProxy(path('half.vhdx'))
        process = subprocess.Popen([
            'rsvdctl', 'convert', '-p', str(proxy.port), '-U', '%s%%%s' % (
                os.environ['USERNAME'], os.environ['PASSWORD']),
            *os.environ['CONFIGURATION'].split(), '//%s/%s/interrupt.vhdx' % (
                os.environ['SERVER_IP'], os.environ['SHARE']),
            path('half.vhdx')])
        assert proxy.halted.wait(PATIENCE_SEC)
        process.send_signal(number)
        assert process.wait(PATIENCE_SEC) == -number
        assert not os.path.exists(path('half.vhdx'))


def main():
    global TMP
    if shutil.which('qemu-img') is None:
        print('1..0 # SKIP no qemu-img')
        return 0

    failed = False
    print('1..%d' % len(TESTS))
    for number, function in enumerate(TESTS, 1):
        result, note = 'ok', ''
        TMP = tempfile.mkdtemp(prefix='convert.')
        try:
            function()
        except Skip as reason:
            note = ' # SKIP %s' % reason
        except Exception as error:
            result, failed = 'not ok', True
            line = sys.exc_info()[2].tb_next.tb_lineno
            print('# line %d: %r' % (line, error))
            if isinstance(error, subprocess.CalledProcessError):
                print('# %r' % error.stdout)
        shutil.rmtree(TMP)
        print('%s %d - %s%s' % (result, number,
                                function.__name__.replace('_', ' '), note),
              flush=True)
    return 1 if failed else 0


sys.exit(main())
