# Sourced by the scripts beside it: finds a Python and makes environments. POSIX sh.

# find_python: the interpreter that $PYTHON names, else the first on PATH that is new enough.
find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 python}; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "error: ${PYTHON:-no python3 on PATH} is not Python 3.11 or newer with venv" >&2
    echo "hint: PYTHON=/path/to/python3 $0    (Debian: apt install python3-venv)" >&2
    return 1
}

# make_environment FOLDER WHAT PIP-ARGUMENTS...: a virtual environment with that installed.
# It counts as current while pyproject.toml is unchanged, so that a second run needs no network.
make_environment() {
    folder=$1 what=$2
    shift 2
    if cmp -s pyproject.toml "$folder/installed-for"; then
        return
    fi
    python=$(find_python)
    echo "==> making $folder with $python"
    "$python" -m venv "$folder"
    echo "==> installing $what"
    if ! install_into "$folder" --upgrade "pip>=25.1" || ! install_into "$folder" "$@"; then
        echo "error: pip could not install $what" >&2
        echo "hint: if the package index is slow or cannot be reached, name a mirror of it:" >&2
        echo "      pip config set global.index-url https://MIRROR/simple" >&2
        return 1
    fi
    cp pyproject.toml "$folder/installed-for"
}

# want_program NAME PACKAGE: installs what some tests need where that takes no password.
# Without it they are skipped, and say so.
want_program() {
    if command -v "$1" >/dev/null 2>&1; then
        return
    fi
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "==> installing $2"
        if apt_install "$2" || { apt-get update -qq >/dev/null 2>&1 && apt_install "$2"; }; then
            return
        fi
    fi
    echo "note: no $1 on PATH, the tests that need it are skipped (Debian: apt install $2)" >&2
}

# want_disk GB: says so beforehand where that much is not free; a full disk fails in strange ways.
want_disk() {
    free_kb=$(df -Pk . | awk 'NR == 2 { print $4 }')
    if [ "$free_kb" -lt $(($1 * 1000 * 1000)) ]; then
        echo "warning: $((free_kb / 1000000)) GB are free here, a whole run needs about $1 GB" >&2
    fi
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "$1" >/dev/null 2>&1
}

install_into() {
    environment=$1
    shift
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}
