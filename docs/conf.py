"""Pages for a browser: `make docs`."""

import xml.etree.ElementTree as ET
from pathlib import Path

about = ET.parse(Path(__file__).parent.parent / "package.xml").getroot()
project, release = about.findtext("name"), about.findtext("version")
extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["*.md", "CHANGELOG.rst", "docs/*.rst", "docs/*.md", "models/*.md"]
exclude_patterns = [".*", "build"]
myst_heading_anchors = 3
html_theme_options = {"page_width": "90%", "body_max_width": "none"}
html_title = f"{project} {release}"
