#!/usr/bin/env bash
# From a fresh clone to every table and figure: finds or makes an environment, then runs the notebooks.
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # started as: sh run_all.sh
set -euo pipefail

script=$(readlink -f -- "${BASH_SOURCE[0]}")
root=$(dirname -- "$script")
venv=$root/.venv
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" # this clone, whichever one is installed in the environment

die() { # message, exit status
    echo "run_all.sh: $1" >&2
    exit "$2"
}

find_python() {
    local candidate
    for candidate in python3 python python3.11 python3.12 python3.13; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    die "Python 3.11 or newer is needed, and there is none on the PATH" 1
}

# --- options, all of them checked before anything is installed -------------------------------------------------------

[[ $root != *:* ]] || die "no virtual environment can be made in a folder with ':' in its path; move the checkout" 1
base=$(find_python)
testing=no
if [[ $# -eq 1 && $1 == --test ]]; then
    testing=yes
else
    for option in "$@"; do
        [[ $option != -h && $option != --help ]] || SUNGEN_RUN_ALL=yes exec "$base" -m sungen_lib run --help
    done
    SUNGEN_RUN_ALL=yes "$base" -m sungen_lib run --check "$@" || exit $?
fi

# --- the environment -------------------------------------------------------------------------------------------------

satisfies() { # interpreter, extras: whether everything that pyproject.toml asks for is there; imports none of it
    "$1" - "$root" "${@:2}" 2>/dev/null <<'PYTHON'
import platform, sys, tomllib
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

root = Path(sys.argv[1])
if Path(sys.prefix).resolve() == (root / ".venv").resolve():
    sys.exit(1)  # .venv answers for itself, by its stamp: it may be half made
project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
wanted = [*project["dependencies"], *(item for name in sys.argv[2:] for item in project["optional-dependencies"][name])]
fits = platform.python_version() in SpecifierSet(project["requires-python"])
for requirement in map(Requirement, wanted):
    fits = fits and requirement.specifier.contains(version(requirement.name), prereleases=True)
sys.exit(not fits)
PYTHON
}

HELD=3 NO_LOCKS=4
take_lock() { # flags beside LOCK_EX
    "$base" -c "
import sys
try:
    import fcntl
    fcntl.flock(9, fcntl.LOCK_EX $1)
except BlockingIOError:
    sys.exit($HELD)
except (ImportError, OSError):
    sys.exit($NO_LOCKS)
"
}

make_venv() {
    local ready=$venv/.sungen-ready half=$venv/.sungen-installing wanted lock=0
    wanted=$(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum)
    ! is_ready || return 0
    # The lock is on this script; pip inherits it, so a pip that outlives a killed run_all.sh is waited for, too.
    exec 9<"$script"
    take_lock '| fcntl.LOCK_NB' || lock=$?
    if [[ $lock == "$HELD" ]]; then
        echo "waiting for another installation into .venv to end"
        take_lock '' || lock=$?
    fi
    if [[ $lock == "$NO_LOCKS" ]]; then
        echo "files in $root cannot be locked: start no second installation until this one has ended"
    fi
    if ! is_ready; then
        fill_venv
    fi
    exec 9<&-
}

is_ready() {
    [[ -f $ready && $(<"$ready") == "$wanted" ]] && "$venv/bin/python" -c '' 2>/dev/null
}

fill_venv() {
    # An installation cut off may have left a package half unpacked that pip takes for whole: start again.
    if [[ -e $half ]]; then
        echo "the last installation into .venv did not finish; starting it again"
        # All but the mark, which has to outlast a clearing that is cut off in its turn.
        find "$venv" -mindepth 1 -maxdepth 1 ! -name "${half##*/}" -exec rm -rf {} +
    fi
    mkdir -p "$venv"
    touch "$half"
    rm -f "$ready"
    echo "installing into .venv what pyproject.toml asks for, at the versions of constraints.txt (a few minutes, once)"
    "$base" -m venv "$venv" || die "$base cannot make a virtual environment (on Debian: apt install python3-venv)" 1
    # torch first: by far the largest, so if it cannot be had that shows before the rest is fetched.
    cd "$root" # pip takes brackets in a path for extras
    install torch
    install -e '.[suite,test]'
    cd - >/dev/null
    # Without this every kernel started by hand warns that 127.0.0.1 is not encrypted.
    mkdir -p "$venv/etc/ipython"
    echo 'get_config().IPKernelApp.log_level = "CRITICAL"' >"$venv/etc/ipython/ipython_kernel_config.py"
    echo "$wanted" >"$ready"
    rm -f "$half"
}

install() {
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check -c constraints.txt "$@" ||
        die "the installation failed (pip says why above); run this again to go on" 1
}

extras=(suite)
[[ $testing == no ]] || extras+=(test)
python=''
for candidate in python python3; do
    if [[ -z $python ]] && satisfies "$candidate" "${extras[@]}"; then
        python=$(command -v "$candidate")
    fi
done
if [[ -z $python ]]; then
    make_venv
    python=$venv/bin/python
fi

# --- the notebooks ---------------------------------------------------------------------------------------------------

if [[ $testing == no ]]; then
    exec "$python" -m sungen_lib run "$@"
fi

# --- the tests -------------------------------------------------------------------------------------------------------

summary='' failed=0
scratch=$(mktemp -d)
trap 'cat "$scratch"/*.pid 2>/dev/null | xargs kill 2>/dev/null || true; rm -rf "$scratch"' EXIT

counted() { # name, exit status, how long
    local verdict=ok
    [[ $2 == 0 ]] || { verdict=FAILED && failed=1; }
    summary+=$(printf '%-10s %-7s %s' "$1" "$verdict" "$3")$'\n'
}

step() { # name, command...
    local name=$1 began=$SECONDS status=0
    shift
    echo "== $name"
    "$@" || status=$?
    counted "$name" "$status" "$(printf '%4d s' $((SECONDS - began)))"
}

start() { # name, command...: beside the next step, for the cores that it leaves idle
    nice "${@:2}" >"$scratch/$1.log" 2>&1 &
    echo $! >"$scratch/$1.pid"
}

finish() { # name
    local status=0
    echo "== $1"
    wait "$(<"$scratch/$1.pid")" || status=$?
    rm "$scratch/$1.pid"
    cat "$scratch/$1.log"
    counted "$1" "$status" 'beside pytest'
}

cd "$root"
export HF_HUB_OFFLINE=1 TQDM_DISABLE=1
# The kernel "python3" is this interpreter, also where the user has another one of that name.
JUPYTER_PATH=$("$python" -c 'import sys; print(sys.prefix)')/share/jupyter${JUPYTER_PATH:+:$JUPYTER_PATH}
export JUPYTER_PATH
step ruff "$python" -m ruff check .
# pytest waits for servers, kernels and kills a quarter of its time, so two steps run beside it: the types, and every run
# of every notebook at the smallest sizes, from nothing.
start mypy "$python" -m mypy
start runs env SUNGEN_STORE="$scratch/runs" "$python" -c '
import os
from sungen_lib.lab import execution, notebooks, plan
os.chdir(notebooks.NOTEBOOKS)
plans = [plan.planned(one, {"profile": "tiny"}, anywhere=False) for one in notebooks.select(notebooks.NOTEBOOKS)]
# A worker keeps the texts of the last few sets that it has read.
execution.execute(sorted((spec for specs in plans for spec in specs), key=plan.task), progress=None)'
# Long tests come first (tests/faults); a worker that runs out takes tests from the other.
step pytest "$python" -m pytest -q -n 2 --dist worksteal tests
finish mypy
finish runs
# The notebooks with their defaults and the committed records, in a store of their own: in the user's, ./run_all.sh would
# take them for its results.
export SUNGEN_STORE=$scratch/store
step records "$python" -m sungen_lib unpack tables/embedded
# Kernels that start and end as those of the suite do, two at a time, with a thread each.
export OMP_NUM_THREADS=1 IPYTHONDIR=$SUNGEN_STORE/ipython
mkdir -p "$IPYTHONDIR/profile_default"
"$python" -c 'from sungen_lib.lab import notebooks
print("c.IPKernelApp.exec_lines =", [*notebooks.KERNEL_STARTUP])' >"$IPYTHONDIR/profile_default/ipython_kernel_config.py"
step notebooks "$python" -m pytest -q -n 2 --dist loadfile --timeout=1800 --nbval-lax --nbval-current-env \
    --nbval-sanitize-with tests/nbval_sanitize.cfg notebooks
printf '\n%s' "$summary"
exit "$failed"
