"""report.py DIR [--plot]: medians and ratios of DIR/results.csv, as a table on
the screen, as DIR/table.md, the ratios alone, a line for each comparison, as
DIR/ratios.md, and with --plot also as DIR/ratios.svg."""

import csv
import statistics
import sys
from collections import OrderedDict


def read(name):
    """One entry for each comparison: its key, and the rounds' figures."""
    rounds = OrderedDict()
    with open(name, newline="") as file:
        for row in csv.DictReader(file):
            key = (row["part"], row["work"], row["peer"], row["clients"],
                   row["commit"], row["target"])
            rounds.setdefault(key, []).append(
                (float(row["ours"]), float(row["theirs"])))
    return rounds


def number(n):
    return f"{n:,.0f}" if n >= 10 else f"{n:.2f}"


def summarize(rounds):
    for key, pairs in rounds.items():
        ours = statistics.median(a for a, _ in pairs)
        theirs = statistics.median(b for _, b in pairs)
        ratios = [a / b for a, b in pairs if b]
        ratio = ours / theirs if theirs else float("inf")
        yield key, ours, theirs, ratio, min(ratios), max(ratios)


def verdict(ratio, target):
    if not target:
        return ""
    return "yes" if ratio >= float(target) else "no"


def lines(rows):
    yield ("work", "against", "clients", "commit", "ours/s", "theirs/s",
           "ratio", "spread", "target", "met")
    for key, ours, theirs, ratio, low, high in rows:
        _, work, peer, clients, commit, target = key
        yield (work, peer, clients, commit, number(ours), number(theirs),
               f"{ratio:.2f}", f"{low:.2f}-{high:.2f}", target,
               verdict(ratio, target))


def matrix(rows):
    """The ratios, a line for each comparison; in bold what misses its target."""
    columns = sorted({(key[4] == "off", int(key[3])) for key, *_ in rows})
    yield ("work", "against", "target") + tuple(
        f"{'off' if off else 'on'}, {n}" for off, n in columns)
    comparisons = OrderedDict()
    for key, _, _, ratio, *_ in rows:
        _, work, peer, clients, commit, target = key
        cell = f"{ratio:.2f}"
        if verdict(ratio, target) == "no":
            cell = f"**{cell}**"
        comparisons.setdefault((work, peer, target), {})[
            commit == "off", int(clients)] = cell
    for names, cells in comparisons.items():
        yield names + tuple(cells.get(column, "") for column in columns)


def latencies(name):
    """Percentiles of the latency in ms, medians over the rounds."""
    rounds = OrderedDict()
    columns = ("p50", "p99", "p99.9")
    with open(name, newline="") as file:
        for row in csv.DictReader(file):
            key = (row["script"], row["clients"], row["commit"])
            rounds.setdefault(key, []).append(
                [float(row[column]) for column in columns])
    yield ("script", "clients", "commit") + columns
    for key, figures in rounds.items():
        yield key + tuple(f"{statistics.median(column) / 1000:.2f}"
                          for column in zip(*figures))


def write_markdown(table, name):
    with open(name, "w") as file:
        for n, line in enumerate(table):
            print("| " + " | ".join(line) + " |", file=file)
            if n == 0:
                print("|" + "---|" * len(line), file=file)


def plot(rows, name):
    """A line for each comparison, with a dot for each ratio: larger ones for
    more clients, filled where commits wait for the disk."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"    # text, not curves
    matplotlib.rcParams["svg.hashsalt"] = "pg_cas"  # the same names each time
    import matplotlib.pyplot as plt

    names = list(OrderedDict.fromkeys(key[1:3] for key, *_ in rows))
    counts = sorted({int(key[3]) for key, *_ in rows})
    figure, axes = plt.subplots(figsize=(10, 0.24 * len(names) + 1.4))
    for n, clients in enumerate(counts):
        for commit, colour, shift in (("on", "#4878a8", -0.12),
                                      ("off", "none", 0.12)):
            dots = [(ratio, names.index(key[1:3]) + shift)
                    for key, _, _, ratio, *_ in rows
                    if key[3:5] == (str(clients), commit)]
            if dots:
                axes.scatter(*zip(*dots), s=10 + 12 * n, linewidths=0.8,
                             facecolors=colour, edgecolors="#4878a8",
                             zorder=3, label=f"{clients} client"
                             f"{'' if clients == 1 else 's'}, commit {commit}")
    for key, *_ in rows:
        if key[5]:
            place = names.index(key[1:3])
            axes.plot([float(key[5])] * 2, [place - 0.4, place + 0.4],
                      color="#c44e52")
    axes.plot([], [], color="#c44e52", label="target")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.set_yticks(range(len(names)),
                    [f"{work} : {peer}" for work, peer in names], fontsize=7)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", linewidth=0.3)
    axes.set_xlabel("pg_cas / peer, transactions per second")
    figure.legend(loc="lower center", ncols=5, fontsize=7, frameon=False)
    figure.tight_layout(rect=(0, 0.6 / figure.get_figheight(), 1, 1))
    figure.savefig(name, metadata={"Date": None})


def show(table):
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.ljust(width)
                        for cell, width in zip(line, widths)))


def main(folder, plotted):
    rows = list(summarize(read(f"{folder}/results.csv")))
    if not rows:
        return
    table = list(lines(rows))
    show(table)
    percentiles = list(latencies(f"{folder}/latencies.csv"))
    if len(percentiles) > 1:
        print("\nlatency in ms")
        show(percentiles)
    write_markdown(percentiles, f"{folder}/latencies.md")
    write_markdown(table, f"{folder}/table.md")
    write_markdown(matrix(rows), f"{folder}/ratios.md")
    files = ["results.csv", "table.md", "ratios.md", "latencies.csv",
             "latencies.md"]
    if plotted:
        files.append("ratios.svg")
        plot(rows, f"{folder}/ratios.svg")
    print(f"\n{', '.join(files)} are in {folder}")


main(sys.argv[1], "--plot" in sys.argv[2:])
