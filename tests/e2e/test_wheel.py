"""What is shipped: the wheel, in an environment of its own, without the repository."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Built as `python -m build` does, from a source distribution, so that both are whole."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (built,) = folder.glob("*.whl")
    yield built


def test_it_holds_notebooks_kernel_and_types_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "mlinfra_lab/notebooks/tutorials/01-first-model.ipynb" in names
    assert "mlinfra_lab/notebooks/templates/train_flight_delay.ipynb" in names
    assert "mlinfra_lab/py.typed" in names
    assert any(name.endswith("share/jupyter/kernels/mlinfra/kernel.json") for name in names)
    tops = {name.split("/")[0] for name in names}
    assert all(top == "mlinfra_lab" or top.startswith("mlinfra_lab-") for top in tops)
    assert not [name for name in names if "__pycache__" in name or ".ipynb_checkpoints" in name]


def test_a_folder_gets_the_tutorial_from_an_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    """Its own environment sees this one's libraries, and of mlinfra-lab only the wheel."""
    environment = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    install = [
        "uv",
        "pip",
        "install",
        "--quiet",
        "--offline",
        "--no-deps",
        "--python",
        str(python),
        str(wheel),
    ]
    subprocess.run([sys.executable, "-m", *install], check=True)
    libraries = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    (site,) = environment.glob("lib/python*/site-packages")
    # A .pth file would bring in the editable install as well; plain paths do not read those.
    (site / "libraries.pth").write_text(f"{libraries}\n")
    project = tmp_path / "project"
    project.mkdir()
    done = subprocess.run(
        [str(environment / "bin" / "mlinfra"), "init", "--tutorial"],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (project / "notebooks" / "tutorials" / "01-first-model.ipynb").is_file()
    where = subprocess.run(
        [str(python), "-c", "import mlinfra_lab; print(mlinfra_lab.__file__)"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert str(site) in where.stdout
    assert (environment / "share" / "jupyter" / "kernels" / "mlinfra" / "kernel.json").is_file()
