# Sourced by train.sh, tests/run.sh and .ci/run, from the repository root: finds or makes the Python environment.

die() {
    printf 'error: %s\n' "$1" >&2
    exit 2
}

# The first Python of 3.11 or later by the usual names; 3.11 itself, for which the pins are, comes first.
find_python() {
    local name
    for name in python3.11 python3 python python3.12 python3.13; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$name"
            return
        fi
    done
    die "No Python 3.11 or later on PATH. To mend: install one, or activate an environment that has it."
}

# Is every pin of the files installed in this Python, at that version?
installed() {
    python - "$@" <<'PYTHON'
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

def pins(path):
    for line in path.read_text().splitlines():
        if line.startswith("-r "):
            yield from pins(path.parent / line[3:].strip())
        elif "==" in line and not line.startswith("#"):
            yield line.strip().split("==")

try:
    right = all(version(name).split("+")[0] == pin for file in sys.argv[1:] for name, pin in pins(Path(file)))
except PackageNotFoundError:
    right = False
sys.exit(not right)
PYTHON
}

# use_environment yes|no FILE...: with `yes`, make and activate .venv unless an environment is active (conda's base does
# not count); then install the pins of the files, if they are not there yet.
use_environment() {
    local make_venv=$1
    shift
    if [ "$make_venv" = yes ] && [ -z "${VIRTUAL_ENV:-}" ] && { [ -z "${CONDA_PREFIX:-}" ] || [ "${CONDA_DEFAULT_ENV:-}" = base ]; }; then
        if [ ! -x .venv/bin/pip ]; then
            local found
            found=$(find_python) || exit 2
            echo "Making a virtual environment in .venv"
            "$found" -m venv .venv || die "No virtual environment could be made. To mend: install Python's venv module (Debian: python3-venv), or pass --no-venv."
        fi
        # shellcheck disable=SC1091
        . .venv/bin/activate
    elif ! command -v python >/dev/null; then
        die "There is no \`python\` on PATH. To mend: activate an environment, or leave --no-venv out."
    fi
    python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "The active Python is older than 3.11. To mend: activate an environment with 3.11, or deactivate this one and let the script make its own."
    installed "$@" && return
    if [ "$make_venv" = no ] && [ -z "${CONDA_PREFIX:-}" ] && python -c 'import sys; sys.exit(sys.prefix != sys.base_prefix)'; then
        die "The Python at hand ($(command -v python)) lacks pinned packages of $*. To mend: leave --no-venv out, or activate an environment; packages are not installed into the system's own Python."
    fi
    echo "Installing the pinned packages of $* (some minutes at most)"
    local torch file
    torch=$(grep -h '^torch==' envs/cpu.txt)
    local pip=(python -m pip install --quiet --disable-pip-version-check --progress-bar off)
    local files=()
    for file in "$@"; do files+=(-r "$file"); done
    "${pip[@]}" "$torch" && "${pip[@]}" "${files[@]}" || die "pip could not install the packages; its message stands above. To mend: check the network and the disk, then run again."
}

# The pins for this machine.
runtime_pins() {
    if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then echo envs/gpu.txt; else echo envs/cpu.txt; fi
}
