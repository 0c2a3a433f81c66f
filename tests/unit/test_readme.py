"""What the README shows is what the project has."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_readme_shows_the_job_of_the_renewals_example():
    """The job file in the README is the one that its commands run."""
    shown = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    assert shown.group(1) == (ROOT / "examples/renewals/job.yaml").read_text(encoding="utf-8")


def test_readme_links_lead_somewhere():
    """Every relative link of the README and the docs names a file that exists."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_readme_names_every_setting():
    """Each CLARION_ setting that the code reads is in the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    sources = [
        path for layer in ("clarion", "tasks", "flows", "cli") for path in (ROOT / layer).rglob("*.py")
    ]
    named = {
        name for path in sources for name in re.findall(r"CLARION_[A-Z_]+", path.read_text(encoding="utf-8"))
    }
    assert named
    assert all(name in readme for name in named)
