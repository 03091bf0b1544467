"""`make site`: every link between the pages leads somewhere, and the parts are there."""

import subprocess
import sys

import pytest
from conftest import ROOT

pytest.importorskip("sphinx", reason="requirements-site.txt is not installed")
pytest.importorskip("furo", reason="requirements-site.txt is not installed")


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    command = [sys.executable, "docs/site/build.py", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr  # a link that leads nowhere is a warning, which fails
    site = tmp_path / "site"
    assert "README.html" in (site / "index.html").read_text()
    assert (site / "report.html").read_bytes() == (
        ROOT / "results/published/report.html"
    ).read_bytes()
    api = (site / "docs/site/api.html").read_text()
    for name in ("SqueezeExcite", "SEConfig", "GateProbe", "from_pretrained", "build"):
        assert name in api
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages == {path.stem for path in (site / "docs").glob("*.html")}
