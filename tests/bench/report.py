# SPDX-License-Identifier: GPL-3.0-or-later
"""
./waf bench report: the newest result of each kind into docs/performance.md.

What stands there between <!-- bench KIND --> and <!-- end --> is replaced,
and docs/performance/*.svg are drawn, from the JSON that the runs saved.
Another document has its plots in a directory of the same name beside it.
"""

import datetime
import glob
import json
import os
import re
import statistics

import bench
import plot

DOCUMENT = os.path.join(bench.TOP, 'docs/performance.md')

# What the data path is to reach of the plain file, and a peer of the other
DATAPATH_AIM, PEER_AIM = 0.95, 1

# The image engine: a block that is new, of raw and of qemu
FIRST_WRITE_AIM, FIRST_WRITE_QEMU_AIM = 0.8, 5

SECURITY = {'neither': 'neither signed nor encrypted',
            'signed': 'signed', 'encrypted': 'encrypted'}


def newest(directory, kind):
    """The name has the date, so that the last by name is the newest."""
    saved = sorted(glob.glob(os.path.join(directory, kind + '-2*.json')))
    if not saved:
        return None
    with open(saved[-1]) as file:
        return json.load(file)


class Plots:
    """A directory of SVGs beside the document."""

    def __init__(self, document):
        self.directory = os.path.splitext(document)[0]

    def draw(self, name, *arguments):
        """As plot.bars(); the lines that show it in the document."""
        os.makedirs(self.directory, exist_ok=True)
        path = os.path.join(self.directory, name + '.svg')
        with open(path, 'w') as out:
            out.write(plot.bars(*arguments))
        return ['![%s](%s/%s.svg)' % (
            arguments[0], os.path.basename(self.directory), name), '']


def bar_of(values, unit=1):
    return plot.Bar(statistics.median(values) / unit, min(values) / unit,
                    max(values) / unit)


def table(header, rows):
    lines = ['| ' + ' | '.join(header) + ' |',
             '| --- |' + ' ---: |' * (len(header) - 1)]
    lines += ['| ' + ' | '.join(row) + ' |' for row in rows]
    return lines + ['']


def number(value):
    return '%.0f' % value if value >= 100 else '%.3g' % value


def rate(cell):
    return '%.0f ±%.0f %%' % (cell['iops'], cell['spread_percent'])


def about(result):
    date = datetime.datetime.fromisoformat(result['date'])
    machine = dict(result['machine'])
    return ['`%s`, %s, %d cores of %s, Linux %s, %s, TCP %s, smbd %s; '
            'median of %d rounds of %g s.' % (
                result['command'], date.strftime('%Y-%m-%d %H:%M'),
                machine['cores'], machine['cpu'], machine['kernel'],
                machine['file_system'], machine['tcp'],
                machine['smbd'].replace('Version ', ''),
                result['options']['rounds'], result['options']['seconds']),
            '']


def aims(what, reached):
    """*reached*: (name of the row, ratio, aim)"""
    short = [(name, ratio) for name, ratio, aim in reached if ratio < aim]
    lines = ['%s: %d of %d rows reach the aim; median %.2f, worst %.2f.' % (
        what, len(reached) - len(short), len(reached),
        statistics.median(ratio for _, ratio, _ in reached),
        min(ratio for _, ratio, _ in reached))]
    if short:
        lines += ['Short of it: ' + '; '.join(
            '%s %.2f' % row for row in short) + '.']
    return lines + ['']


def row_name(row):
    return '%s, depth %d' % (row['workload'], row['queue_depth'])


def iops(results):
    return [result['iops'] for result in results]


def datapath(result, plots):
    names = result['targets']
    letters = sorted(names)
    lines = []
    for security in result['options']['security']:
        rows = [row for row in result['rows'] if row['security'] == security]
        lines += ['### ' + SECURITY[security].capitalize(), '']
        groups = [(row_name(row), [bar_of(iops(row['rounds'][letter]),
                                          row['summary']['a']['iops'])
                                   for letter in letters]) for row in rows]
        lines += plots.draw('datapath-' + security,
                            'Data path, ' + SECURITY[security],
                            'rate, the raw file is 1',
                            [names[letter] for letter in letters], groups)
        lines += table(
            ['workload, depth'] + ['%s: %s, IOPS' % (letter, names[letter])
                                   for letter in letters]
            + ['b/a', 'c/a', 'CPU µs a', 'b', 'c'],
            [[row_name(row)]
             + [rate(row['summary'][letter]) for letter in letters]
             + ['%.2f' % row['ratios'][ratio] for ratio in ('b/a', 'c/a')]
             + [number(row['summary'][letter]['server_cpu_usec'])
                for letter in letters] for row in rows])
        lines += aims('Against the raw file', [
            ('%s, %s' % (names[letter], row_name(row)),
             row['ratios'][letter + '/a'], DATAPATH_AIM)
            for row in rows for letter in 'bc'])
    return lines


def peers(result, plots):
    lines = []
    clients = list(dict.fromkeys(row['client'] for row in result['rows']))
    for client in clients:
        rows = [row for row in result['rows'] if row['client'] == client]
        names = rows[0]['peers']
        slug = re.sub('[^a-z0-9]+', '-', ' '.join(names).lower())
        lines += ['### %s: %s' % (client, ' and '.join(names)), '']
        lines += ['Versions: ' + ', '.join(
            dict.fromkeys(rows[0]['versions'].values())) + '.', '']
        groups = [(row_name(row),
                   [bar_of(iops(row['rounds'][name]),
                           row['summary'][names[0]]['iops'])
                    for name in names]) for row in rows]
        lines += plots.draw('peers-' + slug, client,
                            'rate, %s is 1' % names[0], names, groups)
        lines += table(
            ['workload, depth'] + [name + ', IOPS' for name in names]
            + ['ratio'],
            [[row_name(row)]
             + [rate(row['summary'][name]) for name in names]
             + ['%.2f' % ratio for ratio in row['ratios'].values()]
             for row in rows])
        lines += aims('Against ' + names[0], [
            (row_name(row), ratio, PEER_AIM)
            for row in rows for ratio in row['ratios'].values()])
    return lines


def scsi(result, plots):
    rows = result['rows']
    names = ['tgt', 'rsvd']
    groups = [(row['command'].replace('PERSISTENT RESERVE', 'PR'),
               [bar_of([one['p50_usec'] for one in row['rounds'][name]])
                for name in names]) for row in rows]
    lines = plots.draw('scsi', 'Round trip of a SCSI command', 'median, µs',
                       names, groups)
    lines += table(
        ['command', 'tgt, per second', 'p50 µs', 'p99 µs',
         'rsvd, per second', 'p50 µs', 'p99 µs', 'ratio'],
        [[row['command']] + [text for name in names for text in (
            rate(row['summary'][name]),
            '%.1f' % row['summary'][name]['p50_usec'],
            '%.1f' % row['summary'][name]['p99_usec'])]
         + ['%.2f' % row['ratios']['rsvd/tgt']] for row in rows])
    return lines + aims('Against tgt', [
        (row['command'], row['ratios']['rsvd/tgt'], PEER_AIM)
        for row in rows])


def growth(result, plots):
    lines = []
    for part in result['rows']:
        rows = part['rows']
        columns = list(next(iter(rows.values())))
        # What is to stay flat; where that is not measured, the rates
        shown = [c for c in columns if 'CPU' in c] or [
            c for c in columns if 'IOPS' in c]
        title = part['title'][0].upper() + part['title'][1:]
        slug = re.sub('[^a-z]+', '-', title.split(',')[0].lower())
        lines += ['### ' + title, '']
        groups = [(label, [bar_of([one[column] for one in
                                   part['rounds'][label]])
                           for column in shown]) for label in rows]
        lines += plots.draw('growth-' + slug, title.split(',')[0],
                            'µs for one' if 'CPU' in shown[0] else 'IOPS',
                            shown, groups)
        lines += table([''] + columns,
                       [[label] + [number(row[column]) for column in columns]
                        for label, row in rows.items()])
    return lines


def image_engine(result, plots):
    rows = result['rows']
    names = list(rows[0]['summary'])
    ratios = list(rows[0]['ratios'])
    groups = [(row_name(row), [bar_of(iops(row['rounds'][name]),
                                      row['summary'][names[0]]['iops'])
                               for name in names]) for row in rows]
    lines = ['Version: ' + rows[0]['version'] + '.', '']
    lines += plots.draw('vhdx', 'The image engine', 'rate, raw is 1', names,
                        groups)
    lines += table(
        ['workload, depth'] + [name + ', IOPS' for name in names] + ratios,
        [[row_name(row)] + [rate(row['summary'][name]) for name in names]
         + ['%.2f' % row['ratios'][ratio] for ratio in ratios]
         for row in rows])
    for first, what in ((False, 'Rewrites and reads, against raw'),
                        (True, 'First writes, against raw')):
        lines += aims(what, [
            (row_name(row), row['ratios'][ratios[0]],
             FIRST_WRITE_AIM if first else DATAPATH_AIM)
            for row in rows if row['is_first'] == first])
    return lines + aims('First writes to a dynamic disk, against qemu', [
        (row_name(row), row['ratios'][ratios[2]], FIRST_WRITE_QEMU_AIM)
        for row in rows
        if row['is_first'] and row['workload'].startswith('dynamic')])


KINDS = {'datapath': datapath, 'peers': peers, 'scsi': scsi,
         'growth': growth, 'vhdx': image_engine}


def replace(text, kind, lines):
    pattern = re.compile(r'(<!-- bench %s -->\n).*?(<!-- end -->)' % kind,
                         re.DOTALL)
    new, found = pattern.subn(
        lambda match: match.group(1) + '\n' + '\n'.join(lines) + '\n'
        + match.group(2), text)
    if found != 1:
        raise SystemExit('bench: the document has no place for ' + kind)
    return re.sub('\n\n\n+', '\n\n', new)


def write(directory, document):
    with open(document) as file:
        text = file.read()
    plots = Plots(document)
    for kind, lines_of in KINDS.items():
        result = newest(directory, kind)
        if result is None:
            print('%s: nothing saved, left as it was' % kind)
            continue
        text = replace(text, kind, about(result) + lines_of(result, plots))
        print('%s: %s' % (kind, result['date']))
    with open(document, 'w') as file:
        file.write(text)
