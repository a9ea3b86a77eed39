"""Holds the code to docs/authority.md: every clause that code, tests and documents quote exists, and no message quotes one.

A quote is `authority 3.7.1`, perhaps followed by a name within the clause: `(d)`, `W11b`, `P6`, `D5`, `scenario 21`.
"""

import re
import subprocess
import sys
from pathlib import Path

RULES = "docs/authority.md"
CLAUSE = r"\d+(?:\.\d+)*"
PART = r"\([a-zT]\)|[WPDMH]\d+b?|scenario \d+"
QUOTE = re.compile(rf"\bauthority\s+({CLAUSE}(?:\s*[,–-]\s*\d+(?:\.\d+)+)*)((?:(?:,|and|\s)+(?:{PART}))*)", re.I)
MESSAGE = re.compile(r'"[^"]*\b(?:authority|clause)\s+(?:\d|\{)[^"]*"', re.I)


def names(text):
    """Clause numbers, and the names that clauses give to their parts."""
    clauses = set(re.findall(r"^#+ (\d+(?:\.\d+)*)\.? ", text, re.M))
    parts = set(re.findall(r"\([a-dT]\)", text)) | set(re.findall(r"\b[WPDMH]\d+b?\b", text))
    scenarios = text[text.index("### 4.2") :]
    return clauses, parts | {f"scenario {number}" for number in re.findall(r"^(\d+)\. ", scenarios, re.M)}


def files():
    listed = subprocess.run(["git", "ls-files", "*.rs", "*.md", "*.py"], capture_output=True, text=True, check=True)
    return [f for f in listed.stdout.split() if f not in (RULES, ".ci/authority.py") and Path(f).exists()]


def main():
    clauses, parts = names(Path(RULES).read_text())
    wrong, quotes = [], 0
    for file in files():
        text = Path(file).read_text()
        # A comment may break a quote over two lines.
        joined = re.sub(r"\n\s*(?://[/!]?|#|\*)? ?", " ", text)
        for quoted, rest in QUOTE.findall(joined):
            quotes += 1
            wrong += [f"{file}: no clause {clause}" for clause in re.findall(CLAUSE, quoted) if clause not in clauses]
            wrong += [f"{file}: no part {part} in clause {quoted}" for part in re.findall(PART, rest) if part not in parts]
        if file.endswith(".rs"):
            for number, line in enumerate(text.splitlines(), 1):
                if "AUTHORITY" in line:
                    wrong.append(f"{file}:{number}: a quote is spelled `authority 3.7.1`")
                is_code = not line.lstrip().startswith("//")
                if is_code and re.match(r"(src|actors/src|schema/src)/", file) and MESSAGE.search(line):
                    wrong.append(f"{file}:{number}: a message quotes a clause")
    print(*sorted(set(wrong)), sep="\n", end="\n" if wrong else "")
    print(f"{quotes} quotes of {RULES}, which has {len(clauses)} clauses; {len(set(wrong))} wrong")
    return 1 if wrong or not quotes else 0


if __name__ == "__main__":
    sys.exit(main())
