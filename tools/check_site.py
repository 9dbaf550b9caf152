"""The built site loads nothing from elsewhere, and shows each name of the reference's pages.

python tools/check_site.py build/site
"""

import re
import sys
from pathlib import Path

# What a browser fetches by itself: links that a reader follows are none of them.
LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc=\"?(?:https?:)?//[^>]*"
    r"|<link\b(?![^>]*rel=\"?canonical)[^>]*?\bhref=\"?(?:https?:)?//[^>]*"
    r"|@import[^;]*//[^;]*|url\(['\"]?(?:https?:)?//[^)]*\)"
)


def main(site: Path) -> int:
    """The number of faults, each of which is printed."""
    faults = []
    pages = sorted(site.rglob("*.html"))
    for file in [*pages, *site.rglob("*.css")]:
        faults += [f"{file}: loads {found[0]}" for found in LOADED.finditer(file.read_text())]
    shown = {name for page in pages for name in re.findall(r'id="([\w.]+)"', page.read_text())}
    for page in Path("docs/api").glob("*.md"):
        for module, options in re.findall(r"^::: (\S+)\n((?: +.*\n)*)", page.read_text(), re.M):
            for name in re.findall(r"^ +- (\w+)$", options, re.M):
                if f"{module}.{name}" not in shown:
                    faults.append(
                        f"{page}: {module}.{name} is not in the site: it has no docstring"
                    )
    print("\n".join(faults) or f"{len(pages)} pages, {len(shown)} names; nothing is loaded")
    return len(faults)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])) > 0)
