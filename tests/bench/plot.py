# SPDX-License-Identifier: GPL-3.0-or-later
"""Grouped bars with their spread, as SVG that needs nothing to be made."""

import html
import math

COLOURS = ['#8c8c8c', '#2b6cb0', '#dd8a1f', '#3d8b4f', '#a0468c']

SLOPE = 35
SLOPE_COS = math.cos(math.radians(SLOPE))
SLOPE_SIN = math.sin(math.radians(SLOPE))

PLOT_HEIGHT = 220
TOP, LEAST_LEFT = 56, 70
BAR, GAP = 13, 16
CHARACTER = 6.2     # about as wide as one is


class Bar:
    """A median, and the least and most of its rounds."""

    def __init__(self, median, least, most):
        self.median = median
        self.least = least
        self.most = most


def tick_step(top):
    """1, 2 or 5 times a power of ten, for at most six of them."""
    power = 10 ** math.floor(math.log10(top / 6))
    for factor in (1, 2, 5, 10):
        if top / (factor * power) <= 6:
            return factor * power
    return 10 * power


class Canvas:
    def __init__(self, left, width, height):
        self.left = left
        self.right = width - GAP
        self.parts = [
            '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
            'viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">'
            % (width, height, width, height),
            '<!-- SPDX-License-Identifier: GPL-3.0-or-later -->',
            '<rect width="%d" height="%d" fill="white"/>' % (width, height)]

    def line(self, x1, y1, x2, y2, colour):
        self.parts.append('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" '
                          'stroke="%s"/>' % (x1, y1, x2, y2, colour))

    def box(self, x, y, width, height, colour):
        self.parts.append('<rect x="%.1f" y="%.1f" width="%.1f" '
                          'height="%.1f" fill="%s"/>'
                          % (x, y, width, height, colour))

    def text(self, x, y, text, more=''):
        self.parts.append('<text x="%.1f" y="%.1f" %s>%s</text>'
                          % (x, y, more, html.escape(text)))

    def svg(self):
        return '\n'.join(self.parts + ['</svg>', ''])


def axis(canvas, top):
    step = tick_step(top)
    value = 0
    while value <= top:
        y = TOP + PLOT_HEIGHT * (1 - value / top)
        canvas.line(canvas.left, y, canvas.right, y, '#dddddd')
        canvas.text(canvas.left - 6, y + 4, '%g' % value, 'text-anchor="end"')
        value += step


def legend_width(name):
    return 34 + CHARACTER * len(name)


def legend(canvas, series):
    x = canvas.left
    for name, colour in zip(series, COLOURS):
        canvas.box(x, 28, 11, 11, colour)
        canvas.text(x + 16, 38, name)
        x += legend_width(name)


def bars(title, unit, series, groups):
    """
    The text of an SVG. *groups* are (label, [Bar of each of *series*]).
    """
    top = 1.05 * max(bar.most for _, group in groups for bar in group) or 1
    group_width = len(series) * BAR + GAP
    label_length = CHARACTER * max(len(label) for label, _ in groups)
    # The labels stand askew, and end below their bars.
    left = max(LEAST_LEFT, SLOPE_COS * label_length)
    width = left + GAP + max(len(groups) * group_width,
                             1.3 * CHARACTER * len(title + unit),
                             sum(legend_width(name) for name in series))
    canvas = Canvas(left, width,
                    TOP + PLOT_HEIGHT + 24 + SLOPE_SIN * label_length)
    canvas.text(left, 18, '%s (%s)' % (title, unit), 'font-weight="bold"')
    legend(canvas, series)
    axis(canvas, top)

    def y_of(value):
        return TOP + PLOT_HEIGHT * (1 - value / top)

    x = left + GAP / 2
    for label, group in groups:
        for bar, colour in zip(group, COLOURS):
            canvas.box(x, y_of(bar.median), BAR - 2,
                       PLOT_HEIGHT * bar.median / top, colour)
            middle = x + (BAR - 2) / 2
            canvas.line(middle, y_of(bar.most), middle, y_of(bar.least),
                        'black')
            x += BAR
        middle = x - len(series) * BAR / 2
        canvas.text(middle, TOP + PLOT_HEIGHT + 12, label,
                    'text-anchor="end" transform="rotate(-%d %.1f %d)"'
                    % (SLOPE, middle, TOP + PLOT_HEIGHT + 12))
        x += GAP
    return canvas.svg()
