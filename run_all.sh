#!/usr/bin/env bash
# From a fresh clone to every table and figure: finds or makes an environment, then runs the notebooks.
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
venv=$root/.venv

usage() {
    cat <<'TEXT'
usage: ./run_all.sh [--profile tiny|embedded|small|paper] [--data DIR] [--only PREFIX[,PREFIX]] [--out DIR]
                    [--ray auto|ADDRESS] [--dry-run]
       ./run_all.sh --test | --help

Runs every notebook, skipping those for which nothing has changed, and writes the tables and figures.
Uses the active Python if it satisfies pyproject.toml, else makes .venv (Python 3.11 or newer) and installs into it.

  --profile NAME    embedded (default): offline, CPU, demo scale; small: real PLM-written text; paper: the paper's sizes
                    (tiny, for tests: embedded, and too small to show anything)
  --data DIR        data folder, <DIR>/<task>/<source>/<split>.jsonl[.xz|.gz]
  --only PREFIXES   only the notebooks whose names start so, for instance table01,figure03,quickstart
  --out DIR         where the tables go (default: tables), in a folder for the profile
  --ray ADDRESS     compute on the Ray cluster there, all of its machines; auto: the one this machine belongs to, or its
                    own cores and GPUs (runs/ must be on a file system they share)
  --dry-run         list the runs that all this needs, which are shared, and an estimate of GPU hours; run none
  --test            ruff, mypy, pytest and the committed notebooks under nbval instead
  --help            this text

Finished runs are kept in runs/ (or $SUNGEN_STORE) and never computed again; executed notebooks are beside them.
Exit status: 0, all is well; 1, a notebook, a test or the installation failed; 2, a wrong option; 130, Ctrl-C; 143, SIGTERM.
TEXT
}

die() { # message, exit status
    echo "run_all.sh: $1" >&2
    exit "$2"
}

# --- options, all of them checked before anything is installed -------------------------------------------------------

value_of() { # option, number of words left, next word
    [[ $2 -ge 2 && -n $3 && $3 != --* ]] || die "$1 needs a value (see --help)" 2
    printf '%s\n' "$3"
}

check_only() {
    local prefix
    [[ $only =~ ^[A-Za-z0-9_]+(,[A-Za-z0-9_]+)*$ ]] || die "--only wants names like table01,figure03, not '$only'" 2
    for prefix in ${only//,/ }; do
        compgen -G "$root/notebooks/$prefix*.ipynb" >/dev/null ||
            compgen -G "$root/notebooks/[0-9]*_$prefix*.ipynb" >/dev/null ||
            die "--only: no notebook starts with '$prefix'" 2
    done
}

profile=embedded data='' only='' out=$root/tables ray='' testing=no dry=no others=no
while [[ $# -gt 0 ]]; do
    case $1 in
        --help) usage && exit 0 ;;
        --test) testing=yes && shift && continue ;;
        --dry-run) dry=yes && others=yes && shift && continue ;;
        --profile) profile=$(value_of "$1" $# "${2-}") ;;
        --data) data=$(value_of "$1" $# "${2-}") ;;
        --only) only=$(value_of "$1" $# "${2-}") ;;
        --ray) ray=$(value_of "$1" $# "${2-}") ;;
        --out) out=$(value_of "$1" $# "${2-}") ;;
        *) die "unknown option '$1' (see --help)" 2 ;;
    esac
    others=yes
    shift 2
done

[[ $testing$others != yesyes ]] || die "--test goes with no other option" 2
case $profile in
    tiny | embedded | small | paper) ;;
    *) die "--profile is tiny, embedded, small or paper, not '$profile'" 2 ;;
esac
[[ $profile != small || -n $data ]] || die "profile small reads real data: give --data DIR" 2
[[ -z $data || $profile == small || $profile == paper ]] || die "--data goes with --profile small or paper" 2
[[ -z $data || -d $data ]] || die "--data: no such folder: $data" 2
[[ ! -e $out || -d $out ]] || die "--out: not a folder: $out" 2
[[ -z $only ]] || check_only
[[ -z $data || $data == /* ]] || data=$PWD/$data
[[ $out == /* ]] || out=$PWD/$out
cd "$root"

# --- the environment -------------------------------------------------------------------------------------------------

satisfies() { # interpreter, extra ('' for none): whether all pyproject.toml asks for is there; imports none of it
    "$1" - "$venv" "$2" 2>/dev/null <<'PYTHON'
import platform, sys, tomllib
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

venv, extra = sys.argv[1:]
if Path(sys.prefix).resolve() == Path(venv).resolve():
    sys.exit(1)  # .venv answers for itself, by its stamp: it may be half made
project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
wanted = project["dependencies"] + project["optional-dependencies"].get(extra, [])
fits = platform.python_version() in SpecifierSet(project["requires-python"])
for requirement in map(Requirement, wanted):
    fits = fits and requirement.specifier.contains(version(requirement.name), prereleases=True)
sys.exit(not fits)
PYTHON
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

make_venv() {
    local ready=$venv/.sungen-ready half=$venv/.sungen-installing wanted base
    wanted=$(cat pyproject.toml constraints.txt | cksum)
    ! is_ready || return 0
    base=$(find_python)
    # The lock is on this script; pip inherits it, so a pip that outlives a killed run_all.sh is waited for, too.
    exec 9<run_all.sh
    if ! "$base" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null; then
        echo "waiting for another installation into .venv to end"
        "$base" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' 2>/dev/null
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
    install torch
    install -e '.[test]'
    echo "$wanted" >"$ready"
    rm -f "$half"
}

install() {
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check -c constraints.txt "$@" ||
        die "the installation failed (pip says why above); run this again to go on" 1
}

extra=''
[[ $testing == no ]] || extra=test
python=''
for candidate in python python3; do
    if [[ -z $python ]] && satisfies "$candidate" "$extra"; then
        python=$(command -v "$candidate")
    fi
done
if [[ -z $python ]]; then
    make_venv
    python=$venv/bin/python
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" # this clone, whichever one is installed in the environment

# --- the notebooks ---------------------------------------------------------------------------------------------------

if [[ $testing == no ]]; then
    set -- --profile "$profile" --out "$out"
    [[ -z $data ]] || set -- "$@" --data "$data"
    [[ -z $only ]] || set -- "$@" --only "$only"
    [[ -z $ray ]] || set -- "$@" --ray "$ray"
    [[ $dry == no ]] || set -- "$@" --dry-run
    exec "$python" -m sungen_lib.suite "$@"
fi

# --- the tests -------------------------------------------------------------------------------------------------------

summary='' failed=0
step() { # name, command...
    local name=$1 began=$SECONDS verdict=ok
    shift
    echo "== $name"
    "$@" || { verdict=FAILED && failed=1; }
    summary+=$(printf '%-10s %-7s %4d s' "$name" "$verdict" $((SECONDS - began)))$'\n'
}

export HF_HUB_OFFLINE=1 TQDM_DISABLE=1
# The kernel "python3" is this interpreter, also where the user has another one of that name.
JUPYTER_PATH=$("$python" -c 'import sys; print(sys.prefix)')/share/jupyter${JUPYTER_PATH:+:$JUPYTER_PATH}
export JUPYTER_PATH
step ruff "$python" -m ruff check .
step mypy "$python" -m mypy
step pytest "$python" -m pytest -q -n 2 tests
if compgen -G 'notebooks/*.ipynb' >/dev/null; then
    # One after the other, since they share runs; a cell may take as long as its runs do.
    step notebooks "$python" -m pytest -q --timeout=1800 --nbval-lax --nbval-current-env \
        --nbval-sanitize-with tests/nbval_sanitize.cfg notebooks
fi
printf '\n%s' "$summary"
exit "$failed"
