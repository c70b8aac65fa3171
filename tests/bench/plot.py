# SPDX-License-Identifier: GPL-3.0-or-later
"""Grouped bars with their spread, as SVG that needs nothing to be made."""

import html
import math

COLOURS = ['#8c8c8c', '#2b6cb0', '#dd8a1f', '#3d8b4f', '#a0468c']

PLOT_HEIGHT = 220
LEFT, TOP, BELOW = 70, 56, 96
BAR, GAP = 13, 16


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
    def __init__(self, width, height):
        self.parts = [
            '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
            'viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">'
            % (width, height, width, height),
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


def axis(canvas, width, top):
    step = tick_step(top)
    value = 0
    while value <= top:
        y = TOP + PLOT_HEIGHT * (1 - value / top)
        canvas.line(LEFT, y, width - GAP, y, '#dddddd')
        canvas.text(LEFT - 6, y + 4, '%g' % value, 'text-anchor="end"')
        value += step


def legend(canvas, series):
    x = LEFT
    for name, colour in zip(series, COLOURS):
        canvas.box(x, 28, 11, 11, colour)
        canvas.text(x + 16, 38, name)
        x += 34 + 6.5 * len(name)


def bars(title, unit, series, groups):
    """
    The text of an SVG. *groups* are (label, [Bar of each of *series*]).
    """
    top = 1.05 * max(bar.most for _, group in groups for bar in group)
    group_width = len(series) * BAR + GAP
    width = max(LEFT + len(groups) * group_width + 2 * GAP,
                LEFT + 8 * len(title + unit))
    canvas = Canvas(width, TOP + PLOT_HEIGHT + BELOW)
    canvas.text(LEFT, 18, '%s (%s)' % (title, unit), 'font-weight="bold"')
    legend(canvas, series)
    axis(canvas, width, top)

    def y_of(value):
        return TOP + PLOT_HEIGHT * (1 - value / top)

    x = LEFT + GAP / 2
    for label, group in groups:
        for bar, colour in zip(group, COLOURS):
            canvas.box(x, y_of(bar.median), BAR - 2,
                       PLOT_HEIGHT * bar.median / top, colour)
            middle = x + (BAR - 2) / 2
            canvas.line(middle, y_of(bar.most), middle, y_of(bar.least),
                        'black')
            x += BAR
        canvas.text(x - group_width / 2, TOP + PLOT_HEIGHT + 12, label,
                    'text-anchor="end" transform="rotate(-35 %.1f %d)"'
                    % (x - group_width / 2, TOP + PLOT_HEIGHT + 12))
        x += GAP
    return canvas.svg()
