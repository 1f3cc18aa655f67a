# SPDX-License-Identifier: MIT OR Apache-2.0
"""The samples' file and the table made of it."""

import datetime
import os
import platform
import re
import statistics
import subprocess

from cases import PUSH_PEAK_MB, TARGETS, contenders

FIELDS = ["case", "contender", "round", "wall", "cpu", "server_cpu", "peak_mb", "server_peak_mb",
          "up_mb", "down_mb", "result"]
HEAD = ["case", "contender", "n", "wall s (min - max)", "CPU s near + far", "peak MB near / far",
        "MB up / down", "ours / this: wall, CPU, bytes", "result", "target"]


class Samples:
    """All runs, each written to a TSV file when it is over."""

    def __init__(self, path):
        self.path, self.rows = path, []
        self.write(FIELDS)

    def write(self, cells):
        with open(self.path, "a", encoding="utf-8") as f:
            f.write("\t".join(cells) + "\n")

    def add(self, row):
        self.rows.append(row)
        self.write([f"{row[k]:.3f}" if isinstance(row.get(k), float) else str(row.get(k, "")) for k in FIELDS])

    def of(self, case, contender):
        """-> round: sample, of the runs that ended well"""
        return {r["round"]: r for r in self.rows
                if r["case"] == case and r["contender"] == contender and "wall" in r}


def figure(row, name):
    keys = {"wall": ["wall"], "cpu": ["cpu", "server_cpu"], "bytes": ["up_mb", "down_mb"]}[name]
    found = [row[k] for k in keys if k in row]
    return sum(found) if found else None


def ratio(ours, peer, name):
    """The median, over the rounds, of our figure over the peer's in the same round."""
    pairs = [(figure(ours[i], name), figure(peer[i], name)) for i in ours if i in peer]
    return statistics.median([a / b for a, b in pairs]) if pairs and all(b for _, b in pairs) else None


def short(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def median(rows, *keys):
    """-> the medians of some figures as text; nothing if a case has none such"""
    return [short(statistics.median(r[k] for r in rows)) for k in keys if k in rows[0]]


def verdict(what, value, limit):
    return f"{what} {short(value)}, at most {short(limit)}: {'met' if value <= limit else 'NOT MET'}"


def targets(samples, case, contender):
    """The targets that are judged by a contender's runs, as text."""
    ours = samples.of(case, "ours")
    if contender == "ours":
        peaks = [r[k] for r in ours.values() for k in ("peak_mb", "server_peak_mb") if "server_peak_mb" in r]
        return [verdict("peak MB", max(peaks), PUSH_PEAK_MB)] if peaks else []
    told = []
    for target in TARGETS:
        if (target.case, target.peer) == (case, contender):
            value = ratio(ours, samples.of(case, contender), target.figure)
            if value is not None:
                told.append(verdict(target.figure, value, target.limit))
    return told


def row(samples, case, contender):
    runs = samples.of(case, contender)
    failures = [r["result"] for r in samples.rows
                if (r["case"], r["contender"]) == (case, contender) and "wall" not in r]
    if not runs:
        return [case, contender, "0", "", "", "", "", "", "; ".join(failures), ""]
    rows = list(runs.values())
    wall = median(rows, "wall")[0]
    if len(rows) > 1:
        wall += f" ({short(min(r['wall'] for r in rows))} - {short(max(r['wall'] for r in rows))})"
    ratios = []
    if contender != "ours":
        ours = samples.of(case, "ours")
        found = [ratio(ours, runs, name) for name in ("wall", "cpu", "bytes")]
        ratios = [short(value) for value in found if value is not None]
    return [case, contender, str(len(rows)), wall, " + ".join(median(rows, "cpu", "server_cpu")),
            " / ".join(median(rows, "peak_mb", "server_peak_mb")), " / ".join(median(rows, "up_mb", "down_mb")),
            ", ".join(ratios), "; ".join(failures + sorted({r["result"] for r in rows})),
            "; ".join(targets(samples, case, contender))]


def table(samples):
    """The whole report, as text that is Markdown, too."""
    lines = [HEAD]
    for case in dict.fromkeys(r["case"] for r in samples.rows):
        took_part = {r["contender"] for r in samples.rows if r["case"] == case}
        lines += [row(samples, case, name) for name in contenders(case) if name in took_part]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    lines.insert(1, ["-" * width for width in widths])
    text = "".join("| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths)) + " |\n" for line in lines)
    return f"{facts()}\n{text}\n{summary(samples)}"


def summary(samples):
    told = [f"{t.case}: {verdict(f'{t.figure} to {t.peer}', value, t.limit)}" for t in TARGETS
            if (value := ratio(samples.of(t.case, "ours"), samples.of(t.case, t.peer), t.figure)) is not None]
    missed = [line for line in told if "NOT MET" in line]
    return f"{len(told) - len(missed)} of {len(told)} ratios are met.\n" + "".join(f"- {line}\n" for line in missed)


def facts():
    """What machine and which peers these are."""
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = re.search(r"model name\s*: (.*)", f.read())
    query = ["dpkg-query", "-W", "-f", "${Package} ${Version}, ", "ostree", "rsync", "openssh-server"]
    packages = subprocess.run(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    return (f"{datetime.date.today()}; {model[1] if model else platform.machine()}, {os.cpu_count()} cores;"
            f" Linux {platform.release()}; {packages.rstrip(', ')}\n")
