"""Tables in LaTeX: numbers, intervals, what is bold, and whether a real LaTeX takes them."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from bench.analysis import latex, results
from bench.analysis.tables import conditions, named
from tests.conftest import PROJECT

COMMITTED = PROJECT / "results" / "reference" / "occlusion"


def ranked(p_lead: float) -> str:
    """Return the LaTeX of three imputers' errors, the best of which leads with this p."""
    table = pd.DataFrame(
        {
            "model": ["linear", "vae", "mean"],
            "inference": ["", "map", ""],
            "mechanism": "gaps",
            "level": "500 ms",
            "value": [2.0, 1.0, 4.0],
            "p_lead": [float("nan"), p_lead, float("nan")],
        }
    )
    rows = named(table["model"], table["inference"])
    text = pd.DataFrame({"gaps 500 ms": ["2 [1, 3]", "1 [0.5, 2]", "4 [3, 5]"]}, index=rows)
    marks = latex.marks_of(table, rows, conditions(table), text)
    return latex.table(text, "caption", "name", marks)


def test_the_best_is_bold_only_where_the_test_says_so() -> None:
    distinct, alike = ranked(0.01), ranked(0.2)
    assert r"vae (map) & \textbf{\num{1}} {\scriptsize [\num{0.5}, \num{2}]} \\" in distinct
    assert r"\textbf" not in alike
    for text in (distinct, alike):
        assert r"linear & \underline{\num{2}}" in text
        assert r"mean & \num{4}" in text


def test_a_wide_table_is_broken_into_parts_of_all_rows() -> None:
    columns = [f"c{number} of a wide table" for number in range(12)]
    text = pd.DataFrame([["1"] * 12] * 2, columns=columns, index=["a", "b"])
    made = latex.table(text, "caption", "name")
    assert made.count(r"\begin{tabular}") == 3
    assert made.count(r"\caption") == 1
    assert len(re.findall(r"\bc\d+\b", made)) == 12
    assert made.count(r"\num{1}") == 24


def test_a_real_latex_takes_every_table(tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None or _lacks("siunitx.sty"):
        pytest.skip("no pdflatex with siunitx is installed")
    _, found = results.read_tables(COMMITTED)
    results.write(found, tmp_path)
    parts = sorted(path.stem for path in tmp_path.glob("*.tex"))
    inputs = "\n".join(rf"\input{{{part}}}\clearpage" for part in parts)
    (tmp_path / "whole.tex").write_text(
        "\\documentclass{article}\n\\usepackage[a4paper,margin=15mm]{geometry}\n"
        "\\usepackage{booktabs, siunitx}\n\\sisetup{detect-all}\n"
        f"\\begin{{document}}\n{inputs}\n\\end{{document}}\n"
    )
    ended = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "whole.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-2000:]
    assert (tmp_path / "whole.pdf").read_bytes().startswith(b"%PDF")
    # Words that stick out of the page are lost.
    widths = [float(one) for one in re.findall(r"Overfull \\hbox \(([\d.]+)pt", ended.stdout)]
    assert max(widths, default=0) < 30, ended.stdout


def _lacks(file: str) -> bool:
    """Return whether LaTeX does not find a file."""
    program = shutil.which("kpsewhich")
    return program is None or not subprocess.run([program, file], capture_output=True).stdout
