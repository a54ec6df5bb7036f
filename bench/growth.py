"""growth.py DIR [--plot]: the medians of DIR/growth.csv, as a table on the screen and
as DIR/growth.md, and with --plot as DIR/growth.svg: how the time of each call grows."""

import csv
import statistics
import sys
import textwrap
from collections import OrderedDict


def read(name):
    """By case: what it does, and by size the medians of both times."""
    runs = OrderedDict()
    with open(name, newline="") as file:
        for row in csv.DictReader(file):
            case = runs.setdefault(row["case"],
                                   (row["work"], row["of"], OrderedDict()))
            case[2].setdefault(int(row["size"]), []).append(row)
    for work, of, sizes in runs.values():
        points = []
        for size, rows in sizes.items():
            theirs = [float(r["theirs"]) for r in rows if r["theirs"]]
            points.append((size,
                           statistics.median(float(r["ours"]) for r in rows),
                           statistics.median(theirs) if theirs else None))
        yield work, of, points


def lines(cases):
    yield ("work", "of", "size", "ms", "times the first", "peer's ms",
           "times the peer's")
    for work, of, points in cases:
        for size, ours, theirs in points:
            yield (work, of, f"{size:,}", f"{ours:.3f}",
                   f"{ours / points[0][1]:.2f}",
                   f"{theirs:.3f}" if theirs else "",
                   f"{ours / theirs:.2f}" if theirs else "")


def plot(cases, name):
    """A panel for each case, with the same scale of time in all of them."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"
    import matplotlib.pyplot as plt

    columns = 3
    rows = -(-len(cases) // columns)
    figure, panels = plt.subplots(rows, columns, figsize=(11, 2.4 * rows),
                                  sharey=True, squeeze=False)
    for panel in panels.flat[len(cases):]:
        panel.set_visible(False)
    for panel, (work, of, points) in zip(panels.flat, cases):
        sizes = [p[0] for p in points]
        panel.plot(sizes, [p[1] for p in points], "o-", markersize=3,
                   label="pg_cas")
        if points[0][2]:
            panel.plot(sizes, [p[2] for p in points], "s--", color="grey",
                       markersize=3, linewidth=1, label="peer")
            panel.legend(fontsize=7)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_title("\n".join(textwrap.wrap(work, 44)), fontsize=8)
        panel.set_xlabel(of, fontsize=7)
        panel.tick_params(labelsize=7)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    for panel in panels[:, 0]:
        panel.set_ylabel("ms", fontsize=7)
    figure.tight_layout()
    figure.savefig(name, metadata={"Date": None})


def main(folder, plotted):
    cases = list(read(f"{folder}/growth.csv"))
    table = list(lines(cases))
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.ljust(width)
                        for cell, width in zip(line, widths)).rstrip())
    with open(f"{folder}/growth.md", "w") as file:
        for n, line in enumerate(table):
            print("| " + " | ".join(line) + " |", file=file)
            if n == 0:
                print("|" + "---|" * len(line), file=file)
    if plotted:
        plot(cases, f"{folder}/growth.svg")


main(sys.argv[1], "--plot" in sys.argv[2:])
