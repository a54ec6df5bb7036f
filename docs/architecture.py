#!/usr/bin/env python3
"""Draws docs/architecture.svg: the subsystems in src/, their files from top to bottom
as each README.md lists them, and the direction of calls.

    python3 docs/architecture.py > docs/architecture.svg
"""
import html
import os
import re

SRC = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'src')
SUBSYSTEMS = ['cas', 'alloc', 'lock', 'request', 'base']
TITLES = {'cas': 'cas: versioned rows', 'alloc': 'alloc: pools and units',
          'lock': 'lock: locks and leases', 'request': 'request',
          'base': 'base: used by all'}
WIDTH, ROW, GAP, TOP = 190, 18, 16, 84


def files_of(subsystem):
    """The files that the README lists, in its order; True: has SQL
    entry points.  Without a README, the files by name."""
    path = os.path.join(SRC, subsystem)
    listed = []
    try:
        with open(os.path.join(path, 'README.md')) as readme:
            for line in readme:
                found = re.match(r'^(?:\||[-*]|\d+\.)\s*`([a-z_]+\.[ch])`(.*)', line)
                if found and found.group(1) not in [f for f, _ in listed]:
                    listed.append((found.group(1), 'SQL' in found.group(2)))
    except FileNotFoundError:
        listed = [(f, False) for f in sorted(os.listdir(path)) if f.endswith('.c')]
    return listed


def text(x, y, words, size=12, weight='normal', anchor='start'):
    return (f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" '
            f'text-anchor="{anchor}">{html.escape(words)}</text>')


def box(x, y, width, height, colour):
    return (f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" '
            f'fill="{colour}" stroke="#555"/>')


def arrow(x1, y1, x2, y2):
    return (f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#555" '
            'stroke-width="1.5" marker-end="url(#tip)"/>')


def main():
    out = []
    files = {subsystem: files_of(subsystem) for subsystem in SUBSYSTEMS}
    tall = max(len(files[subsystem]) for subsystem in SUBSYSTEMS[:3]) * ROW + 38
    total = 3 * WIDTH + 2 * GAP
    out.append(box(GAP, 16, total, 36, '#fff7e0'))
    out.append(text(GAP + total / 2, 39, 'SQL: any client, ORM or psql; the triggers on guarded tables',
                    13, 'bold', 'middle'))
    for i, subsystem in enumerate(SUBSYSTEMS[:3]):
        x = GAP + i * (WIDTH + GAP)
        out.append(box(x, TOP, WIDTH, tall, '#eaf2fb'))
        out.append(text(x + 10, TOP + 20, TITLES[subsystem], 13, 'bold'))
        for j, (name, entry) in enumerate(files[subsystem]):
            out.append(text(x + 10, TOP + 42 + j * ROW, name + ('  (SQL)' if entry else '')))
        out.append(arrow(x + WIDTH / 2, 52, x + WIDTH / 2, TOP - 2))
        out.append(arrow(x + WIDTH / 2, TOP + tall, x + WIDTH / 2, TOP + tall + 28))
    y = TOP + tall + 30
    for subsystem in SUBSYSTEMS[3:]:
        names = [name + (' (SQL)' if entry else '') for name, entry in files[subsystem]]
        height = 30 + ROW * ((len(names) + 3) // 4) + 8
        out.append(box(GAP, y, total, height, '#eef7ea' if subsystem == 'request' else '#f1f1f1'))
        label = TITLES[subsystem]
        if subsystem == 'request':
            label += ': other subsystems use only its entry check, base/entry.h'
        out.append(text(GAP + 10, y + 20, label, 13, 'bold'))
        for j, name in enumerate(names):
            out.append(text(GAP + 10 + (j % 4) * (total / 4), y + 42 + (j // 4) * ROW, name))
        if subsystem == 'request':
            out.append(arrow(GAP + total / 2, y + height, GAP + total / 2, y + height + 24))
        y += height + 26
    out.append(text(GAP + total / 2, y, 'PostgreSQL', 13, 'bold', 'middle'))
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{total + 2 * GAP}" height="{y + 16}" '
          'font-family="sans-serif">')
    print('<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
          'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>')
    print(f'<rect width="{total + 2 * GAP}" height="{y + 16}" fill="white"/>')
    print('\n'.join(out))
    print('</svg>')


main()
