#!/usr/bin/env bash
# Fetches a repository from the Hugging Face hub or a mirror, verified, on a machine without Python.
# Needs bash 3.2, curl, awk, and sha256sum or shasum; aria2c opens several connections to one file.
#
# No file gets its name before its sha256 (or git hash) is that of the hub's list. State is kept in
# <folder>/.hfd: partial files named by their digest, and the list of what was verified.
# The token goes to curl through its stdin, and to the hub's own address alone: the links that the
# hub redirects to are fetched without it.
set -u
export LC_ALL=C # names are bytes, whatever they are written in

usage() {
  cat <<'TXT'
usage: hfd.sh REPO [options]

  --include GLOB…     only these files (several globs, or the option several times)
  --exclude GLOB…     none of these files
  --revision REV      branch, tag or commit (default: main)
  --dataset           the repository is a dataset
  --local-dir DIR     target folder (default: ./<name>)
  --tool TOOL         aria2c, wget or curl (default: aria2c where there is one, else curl)
  -x N                connections to a file, 1 to 16, aria2c only (default: 8)
  -j N                files at a time (default: 4)
  --hf_token TOKEN    hub token; better: HF_TOKEN in the environment
  --hf_username NAME  taken for the sake of old command lines; the token is enough
  -h, --help          this text

HF_ENDPOINT names a mirror, such as https://hf-mirror.com. The same command again goes on where it
stopped. Where qtool is installed it takes over, unless --tool is given, HFD_NO_QTOOL is set, or
the folder holds what this script has begun.

exit codes: 0 good, 1 several kinds of failure, 2 usage, 3 not found, 4 not authorised, 5 network,
6 wrong bytes, 7 a program is missing, 8 disk, 130 interrupted
TXT
}

# Makes room for a line where the progress stands on a terminal.
clear_line() { [[ ! -t 2 ]] || printf '\r\033[K' >&2; }

# complain CODE MESSAGE [HINT]: says what failed; returns CODE.
complain() {
  clear_line
  printf 'error: %s\n' "$2" >&2
  [[ -z ${3-} ]] || printf '\nhint: %s\n' "$3" >&2
  return "$1"
}

note() { clear_line && printf '%s\n' "$*" >&2; }

die() { complain "$@" || exit; }

# ------------------------------------------------------------------------------------- options

repo='' revision=main kind_of_repo=model folder='' tool='' n_connections='' n_jobs=''
includes=() excludes=() kept=()
token=${HF_TOKEN-} is_token_in_arguments=''

parse_options() {
  local option
  while (($#)); do
    option=$1 && shift
    if [[ $option == --*=* ]]; then
      set -- "${option#*=}" "$@"
      option=${option%%=*}
    fi
    case $option in
      -h | --help) usage && exit 0 ;;
      --dataset) kind_of_repo=dataset && kept+=("$option") ;;
      --include | --exclude)
        [[ $# -gt 0 && ${1-} != -* ]] || die 2 "$option needs a glob" "hfd.sh REPO $option '*.json'"
        while [[ $# -gt 0 && ${1-} != -* ]]; do
          add_glob "$option" "$1" && shift
        done ;;
      --revision | --local-dir | --tool | -x | -j | --hf_token | --hf_username)
        (($#)) || die 2 "$option needs a value" 'hfd.sh --help'
        set_option "$option" "$1" && shift ;;
      -*) die 2 "there is no option $option" 'hfd.sh --help' ;;
      *)
        [[ -z $repo ]] || die 2 "two repositories are given: $repo and $option"
        repo=$option && kept+=("$option") ;;
    esac
  done
}

# A folder stands for all that is in it.
add_glob() {
  local glob=$2
  [[ $glob != */ ]] || glob="$glob*"
  if [[ $1 == --include ]]; then includes+=("$glob"); else excludes+=("$glob"); fi
  kept+=("$1" "$glob")
}

set_option() {
  [[ $1 == --hf_token ]] || kept+=("$1" "$2")
  case $1 in
    --revision) revision=$2 ;;
    --local-dir) folder=$2 ;;
    --tool) tool=$2 ;;
    -x) n_connections=$2 ;;
    -j) n_jobs=$2 ;;
    --hf_token) token=$2 is_token_in_arguments=yes ;;
  esac
}

# What to type in place of $repo, which is no name of a repository.
hint_for_repo() {
  [[ $repo =~ ^([A-Za-z0-9_./-]+):([A-Za-z0-9_.-]+)$ ]] || { echo 'hfd.sh org/name' && return; }
  echo "hfd.sh ${BASH_REMATCH[1]} --include '*${BASH_REMATCH[2]}*'"
}

check_options() {
  [[ -n $repo ]] || die 2 'no repository is given' 'hfd.sh org/name'
  [[ $repo =~ ^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?$ && $repo != *..* ]] ||
    die 2 "$repo is not a repository name" "$(hint_for_repo)"
  [[ -n $revision && $revision != *..* && ! $revision =~ [[:space:][:cntrl:]] ]] ||
    die 2 "no repository can have the revision '$revision'"
  # One character that ends a header would send anything to the hub.
  [[ $token =~ ^[A-Za-z0-9._~+/=-]*$ ]] ||
    die 2 'the token holds characters that no token has' 'copy it again from the hub'
  [[ ${n_connections:-1} =~ ^([1-9]|1[0-6])$ ]] || die 2 "-x $n_connections: it takes 1 to 16"
  [[ ${n_jobs:-1} =~ ^[1-9][0-9]?$ ]] || die 2 "-j $n_jobs: it takes 1 to 99"
  case $tool in
    '' | aria2c | wget | curl) ;;
    *) die 2 "--tool $tool: it takes aria2c, wget or curl" ;;
  esac
  folder=${folder:-./${repo##*/}}
  endpoint=${HF_ENDPOINT:-https://huggingface.co}
  endpoint=${endpoint%%,*}
  [[ $endpoint == *://* ]] || endpoint=https://$endpoint
  while [[ $endpoint == */ ]]; do endpoint=${endpoint%/}; done
  [[ $endpoint =~ ^https?://[A-Za-z0-9.:/_-]+$ || $endpoint =~ ^https?://\[[0-9a-f:]+\] ]] ||
    die 2 "HF_ENDPOINT is no address of a hub: $endpoint" 'HF_ENDPOINT=https://hf-mirror.com'
  [[ -z $token || $endpoint != http://* || $endpoint =~ ^http://(127\.|localhost[:/]|localhost$) ]] ||
    note "warning: the hub token goes to $endpoint unencrypted"
}

# Takes a token out of the process list by starting over with it in the environment.
hide_token() {
  [[ -n $is_token_in_arguments && -f $0 ]] || return 0
  HF_TOKEN=$token exec "$BASH" "$0" "${kept[@]}"
}

hand_over_to_qtool() {
  [[ -z $tool && -z ${HFD_NO_QTOOL-} && ! -d $folder/.hfd ]] || return 0
  [[ $(qtool --version 2>/dev/null) == 'qtool '[0-9]* ]] || return 0
  local glob arguments=("$repo" --revision "$revision" --local-dir "$folder")
  # Unasked, qtool leaves out second copies of the weights; this script does not.
  ((${#includes[@]})) || arguments+=(--include '*')
  for glob in ${includes[@]+"${includes[@]}"}; do arguments+=(--include "$glob"); done
  for glob in ${excludes[@]+"${excludes[@]}"}; do arguments+=(--exclude "$glob"); done
  [[ $kind_of_repo == model ]] || arguments+=(--dataset)
  [[ -z $n_connections ]] || arguments+=(-x "$n_connections")
  [[ -z $n_jobs ]] || arguments+=(-j "$n_jobs")
  echo 'qtool takes over (HFD_NO_QTOOL=1 keeps it from that)' >&2
  [[ -z $token ]] || export HF_TOKEN=$token
  exec qtool download "${arguments[@]}"
}

choose_tools() {
  local program
  for program in curl awk; do
    command -v "$program" >/dev/null ||
      die 7 "there is no $program on this machine" \
        "install it: apt-get install $program   # or dnf, apk, brew; wget alone cannot ask the hub"
  done
  if [[ -z $tool ]]; then
    tool=curl
    ! command -v aria2c >/dev/null || tool=aria2c
  fi
  command -v "$tool" >/dev/null ||
    die 7 "there is no $tool on this machine" 'hfd.sh … --tool curl'
  # The links of a hub are secrets; only GNU's wget takes them through stdin.
  [[ $tool != wget || $(wget --version 2>/dev/null) == *GNU* ]] ||
    die 7 'this wget is not the one of GNU' 'hfd.sh … --tool curl'
  if command -v sha256sum >/dev/null; then
    sha1=(sha1sum) sha256=(sha256sum)
  elif command -v shasum >/dev/null; then
    sha1=(shasum -a 1) sha256=(shasum -a 256)
  else
    die 7 'there is neither sha256sum nor shasum on this machine'
  fi
  # 7.88.1 is 788, 8.5.0 is 805.
  curl_version=$(curl --version | awk 'NR == 1 { split($2, part, "."); print part[1] * 100 + part[2] }')
  size_format=(stat -L -c %s) list_format=(stat -L -c '%s %.9Y %n')
  stat -c %s / >/dev/null 2>&1 || size_format=(stat -L -f %z) list_format=(stat -L -f '%z %Fm %N')
}

# ------------------------------------------------------------------------------------- the hub

# -q first: a .curlrc could follow redirects with the token or write it to a trace.
curl_base=(curl -q -sS --connect-timeout 10 --speed-limit 1 --speed-time 10
  --proto '=http,https' -A hfd.sh ${SSL_CERT_FILE:+--cacert "$SSL_CERT_FILE"})

# config_for URL [token]: what curl reads from its stdin.
config_for() {
  printf 'url = "%s"\n' "$1"
  [[ -z ${2-} ]] || printf 'header = "Authorization: Bearer %s"\n' "$2"
}

# Asks the hub itself, with the token, without following redirects: hub URL ARGUMENTS…
ask_hub() {
  local url=$1 && shift
  config_for "$url" "$token" | "${curl_base[@]}" -K - "$@"
}

# Whether an address is one of the hub's own, where the token may go.
is_hub() {
  local rest=${endpoint#*://}
  local origin=${endpoint%%://*}://${rest%%/*}
  [[ $1 == "$origin" || $1 == "$origin"/* || $1 == "$origin"\?* ]]
}

# A hub that is not the one that was asked.
other_hub() {
  [[ $endpoint != https://huggingface.co ]] || { echo https://hf-mirror.com && return; }
  echo https://huggingface.co
}

is_sound_url() { [[ $1 =~ ^https?://[[:graph:]]+$ && $1 != *[\"\\]* ]]; }

# encode TEXT [KEEP]: percent-encodes all but letters, digits and -._~ (and KEEP) into $encoded.
encode() {
  local rest=$1 others="[!A-Za-z0-9._~${2-}-]" safe code
  encoded=''
  # shellcheck disable=SC2053,SC2295 # a pattern is what it is
  while [[ $rest == *$others* ]]; do
    safe=${rest%%$others*}
    rest=${rest#"$safe"}
    printf -v code '%d' "'${rest:0:1}"
    printf -v code '%%%02X' $((code & 255))
    encoded+=$safe$code rest=${rest:1}
  done
  encoded+=$rest
}

# header NAME FILE: the last value of a response's header.
header() {
  awk -F: -v name="$1" 'tolower($1) == tolower(name) {
    sub(/^[^:]*:[ \t]*/, ""); sub(/\r$/, ""); value = $0 } END { print value }' "$2"
}

# refuse STATUS HEADERS_FILE: says what the hub's refusal means, returns the exit code for it.
refuse() {
  local code said where=$endpoint/${page}$repo
  code=$(header X-Error-Code "$2") said=$(header X-Error-Message "$2")
  said=${said//[![:print:]]/?}
  case $code:$1:${token:+token} in
    GatedRepo:*:token)
      complain 4 "$repo is gated, and this token has no access to it" \
        "accept the terms at $where with the account that the token belongs to" ;;
    GatedRepo:*)
      complain 4 "$repo is gated: its files need terms to be accepted" \
        "accept them at $where, make a token at $endpoint/settings/tokens, then HF_TOKEN=… hfd.sh …" ;;
    RevisionNotFound:*) complain 3 "$repo has no revision $revision" ;;
    EntryNotFound:*) complain 3 "$repo has lost a file that it lists" ;;
    RepoNotFound:* | *:404:*)
      complain 3 "$endpoint has no $kind_of_repo $repo" \
        'check the spelling; a dataset needs --dataset, a private repository HF_TOKEN=…' ;;
    *:401:* | *:403:*) complain 4 "$endpoint refuses $repo ($1 $said)" 'check HF_TOKEN' ;;
    *) complain 5 "$endpoint answers $1 $said" 'try again later, or another HF_ENDPOINT' ;;
  esac
}

is_busy_status() { [[ $1 =~ ^(000|408|425|429|5[0-9][0-9])$ ]]; }

# pause ATTEMPT [HEADERS_FILE]: waits as long as the hub asks for, else a second more each time.
pause() {
  local seconds=$1 asked=''
  [[ ! -f ${2-} ]] || asked=$(header Retry-After "$2")
  [[ ! $asked =~ ^[0-9]{1,2}$ ]] || seconds=$asked
  sleep "$seconds" >/dev/null 2>&1 &
  wait $!
}

# ask_api URL: brings an answer of the API into $work/body, its headers into $work/head.
ask_api() {
  local url=$1 answer status code attempt=0 hops=0
  while :; do
    : >"$work/head"
    answer=$(ask_hub "$url" -o "$work/body" -D "$work/head" \
      -w '%{http_code} %{redirect_url}' 2>"$work/said")
    code=$? status=${answer%% *}
    [[ $code == 0 ]] || status=000
    if [[ $status == 200 ]]; then return 0; fi
    if [[ $status == 30[12378] ]]; then
      url=${answer#* }
      is_sound_url "$url" && is_hub "$url" && ((++hops < 6)) && continue
      complain 5 "$endpoint redirects its API to another place" && return
    fi
    # 60: a certificate that is not trusted.
    if ! is_busy_status "$status" || ((code == 60 || ++attempt > 3)); then break; fi
    pause "$attempt" "$work/head"
  done
  [[ $status != 000 ]] || { complain 5 "$endpoint does not answer: $(head -n 1 "$work/said")" \
    "check the connection, or try another hub: HF_ENDPOINT=$(other_hub)" || return; }
  refuse "$status" "$work/head"
}

# Reads JSON without jq: the quote is the record separator, so strings and what is between them
# take turns. Prints "gated sha" of a revision (mode info), or a line for each file of a tree:
# size, kind of digest, digest, path; tabs between, the path escaped for printf's %b.
read -r -d '' json_reader <<'AWK'
function hex(text,    i, n) {
  for (i = 1; i <= length(text); i++)
    n = n * 16 + index("0123456789abcdef", tolower(substr(text, i, 1))) - 1
  return n
}
function octal(n) { return sprintf("\\0%03o", n) }
function utf8(n) {
  if (n < 32 || n == 127 || (n >= 55296 && n < 57344)) return octal(1)
  if (n < 128) return octal(n)
  if (n < 2048) return octal(192 + int(n / 64)) octal(128 + n % 64)
  if (n < 65536)
    return octal(224 + int(n / 4096)) octal(128 + int(n / 64) % 64) octal(128 + n % 64)
  return octal(240 + int(n / 262144)) octal(128 + int(n / 4096) % 64) \
    octal(128 + int(n / 64) % 64) octal(128 + n % 64)
}
# JSON's escapes to those of %b; a character that no name may hold becomes \001.
function escaped(text,    out, at, code, low) {
  gsub(/[\001-\037\177]/, "\\u0001", text)
  while ((at = index(text, "\\")) > 0) {
    out = out substr(text, 1, at - 1)
    code = substr(text, at + 1, 1)
    if (code == "u") {
      code = hex(substr(text, at + 2, 4))
      text = substr(text, at + 6)
      if (code >= 55296 && code < 56320 && text ~ /^\\u[dD][c-fC-F]/) {
        low = hex(substr(text, 3, 4))
        code = 65536 + (code - 55296) * 1024 + low - 56320
        text = substr(text, 7)
      }
      out = out utf8(code)
    } else {
      out = out (code == "\\" ? "\\0134" : code ~ /["\/]/ ? code : octal(1))
      text = substr(text, at + 2)
    }
  }
  return out text
}
function value(text) {
  if (depth == 1) top[key[1]] = text
  if (depth == 2) entry[key[2]] = text
  if (depth == 3 && key[2] == "lfs") lfs[key[3]] = text
}
function flush() {
  if (has_string) value(string); else if (word != "") value(word)
  has_string = 0; word = ""
}
function close_entry(    oid) {
  if (mode != "tree" || depth != 2 || entry["type"] == "directory") return
  if ("oid" in lfs) {
    oid = tolower(lfs["oid"]); sub(/^sha256:/, "", oid)
    print (("size" in lfs) ? lfs["size"] : entry["size"]) "\tsha256\t" oid "\t" escaped(entry["path"])
  } else
    print entry["size"] "\tsha1\t" tolower(entry["oid"]) "\t" escaped(entry["path"])
}
function structure(text,    i, char) {
  for (i = 1; i <= length(text); i++) {
    char = substr(text, i, 1)
    if (char ~ /[{\[]/) {
      depth++; key[depth] = ""; seen = seen char
      if (depth == 2) { split("", entry); split("", lfs) }
    } else if (char ~ /[}\]]/) { flush(); close_entry(); depth-- }
    else if (char == ":") { key[depth] = string; has_string = 0 }
    else if (char == ",") flush()
    else if (char !~ /[ \t\r\n]/) word = word char
  }
}
BEGIN { RS = "\"" }
!is_inside { structure($0); is_inside = 1; text = ""; next }
{
  text = text $0
  for (n = 0; substr($0, length($0) - n, 1) == "\\" && n < length($0);) n++
  if (n % 2) { text = text "\""; next }
  string = text; has_string = 1; is_inside = 0
}
END {
  if (depth || substr(seen, 1, 1) != (mode == "tree" ? "[" : "{")) exit 1
  if (mode == "info") print top["gated"], top["sha"]
}
AWK

# read_json MODE: what the API's answer says.
read_json() {
  awk -v mode="$1" "$json_reader" "$work/body" ||
    complain 5 "$endpoint answers with something else than its API" \
      'a login page of the network, or not a hub: look at the address in a browser'
}

# ---------------------------------------------------------------------------------------- plan

find_commit() {
  local answer
  encode "$revision"
  ask_api "$api/revision/$encoded" || return
  answer=$(read_json info) || return
  gated=${answer%% *} commit=${answer##* }
  [[ $commit =~ ^[0-9a-f]{40}$ ]] || complain 5 "$endpoint names no commit for $revision"
}

# Brings the pages of the list of files into $work/listing.
list_files() {
  local url="$api/tree/$commit?recursive=true" n_pages=0 next
  : >"$work/listing"
  while [[ -n $url ]]; do
    ((++n_pages <= 2000)) || complain 5 "the list of files of $repo does not end" || return
    ask_api "$url" || return
    read_json tree >>"$work/listing" || return
    next=$(header Link "$work/head")
    url=''
    [[ ! $next =~ \<([^<>]+)\>\;[^,]*rel=\"?next ]] || url=${BASH_REMATCH[1]}
    # Some mirrors pass the hub's own addresses through.
    [[ -z $url ]] || url=$endpoint/api/${url#*/api/}
  done
}

# Whether a name could leave the folder, or mean something else in it than in the repository.
is_hostile() {
  [[ -z $1 || $1 == /* || $1 == *\\* || $1 == [A-Za-z]:* || $1 == .[Hh][Ff][Dd]/* || ${#1} -gt 4000 ]] ||
    [[ /$1/ == */../* || /$1/ == */./* || $1 == *//* || $1 == */ || $1 =~ [[:cntrl:]] ]]
}

is_wanted() {
  local glob is_in=''
  ((${#includes[@]})) || is_in=yes
  # shellcheck disable=SC2053 # globs are what is wanted
  for glob in ${includes[@]+"${includes[@]}"}; do [[ $1 != $glob ]] || is_in=yes; done
  # shellcheck disable=SC2053
  for glob in ${excludes[@]+"${excludes[@]}"}; do [[ $1 != $glob ]] || is_in=''; done
  [[ -n $is_in ]]
}

# Writes the lines of the wanted files, paths decoded, into $work/plan.
make_plan() {
  local size kind digest name path
  while IFS=$'\t' read -r size kind digest name; do
    printf -v path '%b' "$name"
    is_wanted "$path" || continue
    if is_hostile "$path"; then
      complain 6 "the hub lists a file name that is not safe to write: $name" \
        'nothing was written; leave it out with --exclude' || return
    fi
    if [[ ! $size =~ ^[0-9]{1,15}$ || ! $kind:$digest =~ ^(sha256:[0-9a-f]{64}|sha1:[0-9a-f]{40})$ ]]; then
      complain 5 "$endpoint lists $path without size or digest" || return
    fi
    printf '%s\t%s\t%s\t%s\n' "$size" "$kind" "$digest" "$path"
  done <"$work/listing" >"$work/plan"
  [[ -s $work/plan ]] || complain 3 "no file of $repo is wanted" 'check --include and --exclude'
}

# Compares the plan with the folder: $work/todo gets what to fetch or to check, the largest first,
# $work/copies what is a copy of another file. A file is known when it was verified and has the
# size and date that it had then.
survey() {
  : >>"$state/verified"
  : >"$work/copies"
  cp "$state/verified" "$work/known" || return 8
  cut -f 4 "$work/plan" | sed 's|^|./|' | tr '\n' '\0' |
    (cd "$folder" && xargs -0 "${list_format[@]}" 2>/dev/null) >"$work/present"
  awk -F '\t' -v known_list="$work/known" -v present="$work/present" -v copies="$work/copies" '
    FILENAME == known_list { known[$1, $2, $3, $4]; next }
    FILENAME == present {
      split($0, words, " ")
      path = substr($0, length(words[1] words[2]) + 5)
      size[path] = words[1]; date[path] = words[2]; next
    }
    ($4 in size) && size[$4] == $1 && (($3, $1, date[$4], $4) in known) { source[$3] = $4; n++; next }
    { rest[++m] = $0 }
    END {
      for (i = 1; i <= m; i++) {
        split(rest[i], field, "\t"); path = field[4]
        is_there = (path in size) && size[path] == field[1]
        if (field[3] in source) print rest[i] "\t" source[field[3]] >copies
        else { source[field[3]] = path; print rest[i] "\t" (is_there ? "check" : "fetch") }
      }
    }' "$work/known" "$work/present" "$work/plan" | sort -t $'\t' -k 1,1nr >"$work/todo"
}

check_space() {
  local need_kib free_kib
  need_kib=$(awk -F '\t' '$5 != "check" { n += $1 } END { printf "%.0f", n / 1024 }' \
    "$work/todo" "$work/copies")
  need_kib=$((need_kib - $(du -sk "$parts" | cut -f 1)))
  free_kib=$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')
  ((need_kib <= free_kib)) || complain 8 "not enough space in $folder: \
$(human $((need_kib * 1024))) are needed, $(human $((free_kib * 1024))) are free"
}

human() {
  awk -v n="$1" 'BEGIN { split("B kB MB GB TB", unit, " ")
    for (i = 1; n >= 999.5 && i < 5; i++) n /= 1000
    printf(i == 1 || n >= 99.95 ? "%.0f %s" : "%.1f %s", n, unit[i]) }'
}

# -------------------------------------------------------------------------------------- fetching

size_of() { "${size_format[@]}" "$1" 2>/dev/null || echo 0; }

# is_right FILE SIZE KIND DIGEST
is_right() {
  local found
  if [[ $3 == sha256 ]]; then
    found=$("${sha256[@]}" <"$1")
  else
    found=$({ printf 'blob %s\0' "$2" && cat "$1"; } | "${sha1[@]}")
  fi
  [[ ${found%% *} == "$4" ]]
}

# place FILE PATH SIZE DIGEST: gives a verified file its name, and remembers that it was verified.
place() {
  local target=$folder/$2 date
  if [[ $1 != "$target" ]]; then
    [[ ! -d $target ]] || complain 8 "$target is a folder where a file should be" || return
    [[ $2 != */* || -d ${target%/*} ]] || mkdir -p "${target%/*}" || return 8
    keep_edited "$target" "$2" || return 8
    mv -f "$1" "$target" || return 8
    echo "$3" >>"$work/placed"
  fi
  date=$("${list_format[@]}" "$target") || return 8
  date=${date#* }
  printf '%s\t%s\t%s\t%s\n' "$4" "$3" "${date%% *}" "$2" >>"$state/verified"
}

# keep_edited FILE PATH: a text that somebody has changed keeps its content under a second name. What
# was verified as it is now is nobody's work, nor is the pointer that git leaves without git-lfs.
keep_edited() {
  local second=$1.edited n=1 size date
  [[ -s $1 && -f $1 ]] && LC_ALL=C grep -qI . "$1" 2>/dev/null || return 0
  [[ $(head -c 40 "$1") != 'version https://git-lfs.github.com/spec/'* ]] || return 0
  read -r size date _ <<<"$("${list_format[@]}" "$1")"
  ! awk -F '\t' -v size="$size" -v date="$date" -v path="$2" \
    '$2 == size && $3 "" == date && $4 == path { found = 1; exit } END { exit !found }' \
    "$work/known" || return 0
  while [[ -e $second ]] && ! cmp -s "$1" "$second"; do second=$1.edited-$((++n)); done
  [[ -e $second ]] || ln "$1" "$second" 2>/dev/null || cp -p "$1" "$second" || return
  note "$2 was not as the hub has it, and is replaced; what it was is kept as ${second##*/}"
}

# resolve URL: follows the hub's own redirects. $link is where the content is, $link_token what to
# send there: nothing but to the hub itself. $status is what the hub answered.
resolve() {
  local hops=0 said
  link=$1 link_token=''
  while ((++hops < 6)); do
    said=$(ask_hub "$link" --head -w '\n%{http_code} %{redirect_url}' 2>|"$head.said") || said=$'\n000 '
    printf '%s\n' "$said" >|"$head"
    said=${said##*$'\n'}
    status=${said%% *}
    [[ $status == 30[12378] ]] || break
    link=${said#* }
    is_sound_url "$link" || return 1
    is_hub "$link" || return 0
  done
  link_token=$token
  [[ $status == 200 ]]
}

# Ends what an earlier run, killed, has left behind to write into the same files.
end_leftovers() {
  local file pid
  for file in "$parts"/*.pid; do
    read -r pid 2>/dev/null <"$file" || continue
    [[ $(arguments_of "$pid") != *"$parts"* ]] || kill -9 "$pid"
    rm -f "$file"
  done
}

# What runs as a process; nothing when there is none.
arguments_of() {
  [[ $1 =~ ^[0-9]+$ ]] || return 0
  { tr '\0' ' ' <"/proc/$1/cmdline" || ps -o args= -p "$1"; } 2>/dev/null
}

# Runs a tool that reads its stdin from this function's, so that Ctrl+C can end it.
run_tool() {
  "$@" <&0 >|"$head.out" 2>|"$head.said" &
  child=$!
  echo "$child" >|"$part.pid"
  wait "$child"
  local code=$?
  child=''
  kill -0 $$ 2>/dev/null || exit # killed, the script has left this worker behind
  rm -f "$part.pid"
  return "$code"
}

# Fetches $link into $part, from where that ends. Returns 8 when the disk is full, else lets the
# caller look at what has arrived.
transfer() {
  local code by=$tool
  [[ -z $link_token ]] || by=curl # the only one that takes a token through its stdin
  case $by in
    aria2c)
      : >|"$part.open"
      run_tool aria2c --no-conf --input-file=- --continue=true --allow-overwrite=true \
        --auto-file-renaming=false --file-allocation=none --auto-save-interval=1 \
        --max-connection-per-server="$n_connections" --split="$n_connections" --min-split-size=1M \
        --max-tries=3 --retry-wait=1 --connect-timeout=10 --timeout=10 --dir="$parts" \
        ${SSL_CERT_FILE:+--ca-certificate="$SSL_CERT_FILE"} --stop-with-process=$$ \
        --user-agent=hfd.sh --summary-interval=0 --console-log-level=error --download-result=hide \
        < <(printf '%s\n  out=%s\n' "$link" "${part##*/}")
      code=$?
      rm -f "$part.open"
      [[ $code != 9 ]] || return 8
      # A server that once lied about the size has made a control file that fits nothing.
      ! grep -q 'total length mismatch' "$head.out" || start_over ;;
    wget)
      run_tool wget --no-verbose --continue --output-document="$part" --tries=1 --timeout=10 \
        --no-hsts --max-redirect=5 --user-agent=hfd.sh \
        ${SSL_CERT_FILE:+--ca-certificate="$SSL_CERT_FILE"} --input-file=- < <(printf '%s\n' "$link")
      [[ $? != 3 ]] || return 8 ;;
    curl)
      run_tool "${curl_base[@]}" -K - --fail --continue-at - --output "$part" \
        --write-out '%{content_type}' < <(config_for "$link" "$link_token")
      code=$?
      [[ $code != 23 ]] || return 8
      # 33: no ranges from this server, so there is no going on.
      if [[ $code == 33 || ($code == 0 && $(cat "$head.out") == text/html*) ]]; then start_over; fi ;;
  esac
  return 0
}

# Changes when something arrives, also in the middle of a file.
arrived() { echo "$(size_of "$part") $(du -sk "$part" 2>/dev/null | cut -f 1)"; }

# What the tool said last, without the secret part of a link.
last_words() {
  cat "$head.out" "$head.said" 2>/dev/null |
    sed -e '/^ *$/d' -e '/^aria2 will/d' -e '/^If there/d' -e 's/.*errorCode=[0-9]* //' -e 's/?[^ ]*//' |
    tail -n 1
}

start_over() {
  rm -f "$part" "$part.aria2" "$part.open"
  ((n_restarts++))
}

# fetch SIZE KIND DIGEST PATH: brings a file as $part, verified.
fetch() {
  local have before n_idle=0 n_restarts=0
  [[ $1 != 0 ]] || : >|"$part"
  # Without its control file nobody knows which ranges have arrived; other tools know of no ranges.
  [[ ! -e $part.open || -e $part.aria2 ]] || start_over
  [[ ! -e $part.aria2 || $tool == aria2c ]] || start_over
  while ((n_restarts < 4)); do
    have=$(size_of "$part")
    if [[ $have == "$1" && -f $part && ! -e $part.aria2 ]]; then
      ! is_right "$part" "$1" "$2" "$3" || return 0
      start_over
      if ((n_restarts > 1)); then break; fi
      echo "$4: wrong bytes, once more" >&2
      continue
    fi
    encode "$4" /
    if resolve "$files/$encoded"; then
      before=$(arrived)
      transfer || { complain 8 "$4 cannot be written: $(last_words)" 'df -h' || return; }
      if (($(size_of "$part") > $1)); then start_over; fi
      if [[ $(arrived) != "$before" ]]; then n_idle=0; fi
    elif ! is_busy_status "$status"; then
      refuse "$status" "$head" || return
    fi
    if ((++n_idle > 5)); then
      complain 5 "$4 does not arrive: $(last_words)" 'run the same command again' || return
    fi
    if ((n_idle > 1)); then pause "$n_idle" "$head"; fi
  done
  complain 6 "$4 is not what $endpoint lists: wrong bytes, $n_restarts times" \
    'the hub, a proxy or the memory of this machine changes bytes; try another HF_ENDPOINT'
}

bring() { # SIZE KIND DIGEST PATH check|fetch
  part=$parts/$3 head=$work/$3
  if [[ $5 == check ]] && is_right "$folder/$4" "$1" "$2" "$3"; then
    place "$folder/$4" "$4" "$1" "$3"
    return
  fi
  fetch "$1" "$2" "$3" "$4" && place "$part" "$4" "$1" "$3" || return
  (($1 < 1048576)) || note "$4 ($(human "$1"))"
}

# Takes the next file until there is none left; several of these run side by side.
work_through_list() {
  local size kind digest path action n=0 child='' code
  trap '[[ -z $child ]] || kill "$child"; exit 143' TERM
  set -o noclobber # which of the workers can make the file has the job
  while IFS=$'\t' read -r size kind digest path action <&3; do
    if [[ -e $work/stop ]] || ! kill -0 $$ 2>/dev/null; then break; fi
    ((++n))
    { : >"$work/claims/$n"; } 2>/dev/null || continue
    bring "$size" "$kind" "$digest" "$path" "$action"
    code=$?
    ((code == 0)) || echo "$code" >>"$work/failed"
    [[ $code != [48] ]] || : >|"$work/stop"
  done 3<"$work/todo"
}

# Brings the plain files, small ones all of them, over few connections; each is looked at later.
prefetch_small_files() {
  local size kind digest path action
  [[ -z $token || $curl_version -ge 783 ]] || return 0 # older ones send it on to other ports
  while IFS=$'\t' read -r size kind digest path action; do
    [[ $kind == sha1 && $action == fetch && $size != 0 && ! -e $parts/$digest ]] || continue
    encode "$path" /
    printf 'url = "%s"\noutput = "%s"\n' "$files/$encoded" "$digest"
  done <"$work/todo" >"$work/small"
  [[ -s $work/small ]] || return 0
  parallel=()
  ((curl_version < 766)) || parallel=(--parallel --parallel-max 16)
  cd "$parts" || return
  { [[ -z $token ]] || printf 'header = "Authorization: Bearer %s"\n' "$token"; cat "$work/small"; } |
    "${curl_base[@]}" ${parallel[@]+"${parallel[@]}"} -K - --fail --location \
      --proto-redir '=http,https' 2>/dev/null &
  background=$!
  wait "$background"
  cd - >/dev/null || return
}

# Makes the files that have the content of another one.
copy_duplicates() {
  local size kind digest path source
  while IFS=$'\t' read -r size kind digest path source; do
    part=$parts/$digest
    if cp "$folder/$source" "$part" 2>/dev/null && is_right "$part" "$size" "$kind" "$digest"; then
      place "$part" "$path" "$size" "$digest" && continue
      echo 8 >>"$work/failed"
    elif [[ ! -s $work/failed ]]; then
      complain 6 "$folder/$source has changed meanwhile" || echo 6 >>"$work/failed"
    fi
  done <"$work/copies"
}

# Says every few seconds how far it is; on a terminal every second, in one line.
report_progress() {
  local n_bytes=$1 seconds=5 start='' end=$'\n' first now began=$SECONDS
  [[ ! -t 2 ]] || { seconds=1 start=$'\r\033[K' end=''; }
  first=$(du -sk "$parts" | cut -f 1)
  while sleep "$seconds" >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
    now=$(du -sk "$parts" 2>/dev/null | cut -f 1)
    awk -v now="$now" -v first="$first" -v n_bytes="$n_bytes" -v s="$((SECONDS - began))" \
      -v start="$start" -v end="$end" '
      { placed += $1 }
      END {
        got = now * 1024 + placed; rate = (got - first * 1024) / (s ? s : 1)
        if (got > n_bytes) got = n_bytes # blocks of the disk are what is counted
        left = rate > 0 ? sprintf(", %.0f s left", (n_bytes - got) / rate) : ""
        percent = n_bytes > 0 ? 100 * got / n_bytes : 100
        printf("%s%d %% of %.1f MB, %.1f MB/s%s%s",
          start, percent, n_bytes / 1e6, rate / 1e6, left, end)
      }' "$work/placed" >&2
  done
}

# ------------------------------------------------------------------------------------------ main

take_lock() {
  local pid=''
  while ! (set -o noclobber && echo $$ >"$state/lock") 2>/dev/null; do
    read -r pid <"$state/lock" || [[ -e $state/lock ]] || die 8 "$state cannot be written"
    if [[ $pid != "$$" && $(arguments_of "$pid") == *"${0##*/}"* ]]; then
      complain 8 "another hfd.sh (process $pid) is downloading into $folder" \
        "wait for it to end; if it is none, rm $state/lock"
      return
    fi
    rm -f "$state/lock"
  done
  is_locked=yes
}

prepare_folder() {
  [[ -e $folder ]] || is_new=yes
  if ! mkdir -p "$folder/.hfd/parts" 2>/dev/null || ! folder=$(cd "$folder" && pwd); then
    die 8 "$folder cannot be made or written"
  fi
  state=$folder/.hfd parts=$folder/.hfd/parts
  take_lock || exit
  end_leftovers
  work=$state/work
  rm -rf "$work"
  mkdir -m 700 "$work" "$work/claims" || exit 8 # links that the hub signed come to lie there
  : >"$work/placed"
}

clean_up() {
  [[ -n ${is_locked-} ]] || return
  rm -rf "$state/work"
  # Where nothing has arrived, nothing stays.
  if [[ ! -s $state/verified ]] && rmdir "$parts" 2>/dev/null; then
    rm -f "$state/verified" "$state/lock"
    if rmdir "$state" 2>/dev/null && [[ -n ${is_new-} ]]; then rmdir "$folder" 2>/dev/null; fi
  fi
  rm -f "$state/lock"
}

interrupted() {
  trap '' INT TERM
  # shellcheck disable=SC2086 # process ids
  kill ${workers-} ${background-} ${reporter-} 2>/dev/null
  note $'stopped; what has arrived is kept: the same command goes on where it stopped'
  exit 130
}

run_workers() {
  local n
  for ((n = 0; n < n_jobs; n++)); do
    work_through_list &
    workers+=" $!"
  done
  # shellcheck disable=SC2086
  wait $workers
  workers=''
}

# A gated repository is listed for everybody: one question saves one for each file.
check_access() {
  local size kind digest path action
  [[ $gated != false && -s $work/todo ]] || return 0
  IFS=$'\t' read -r size kind digest path action <"$work/todo"
  encode "$path" /
  head=$work/access
  resolve "$files/$encoded" || is_busy_status "$status" || refuse "$status" "$head"
}

bring_all() {
  local n_bytes
  check_access && check_space || return
  n_bytes=$(awk -F '\t' '$5 != "check" { n += $1 } END { printf "%.0f", n }' "$work/todo")
  report_progress "$n_bytes" &
  reporter=$!
  prefetch_small_files
  run_workers
  copy_duplicates
  kill -9 "$reporter" # a gentle end could run our own trap there, were it to come early
  wait "$reporter" 2>/dev/null
  reporter=''
  clear_line
  [[ -s $work/failed ]] || return 0
  note "files that failed: $(awk 'END { print NR }' "$work/failed")"
  if [[ $(sort -u "$work/failed" | wc -l) -gt 1 ]]; then return 1; fi
  return "$(head -n 1 "$work/failed")"
}

# Removes partial files of what the repository no longer holds.
remove_orphans() {
  local part
  for part in "$parts"/*; do
    part=${part##*/}
    grep -q "${part%%.*}" "$work/listing" || rm -f "$parts/$part"
  done
}

main() {
  parse_options "$@"
  check_options
  hide_token
  unset HF_TOKEN
  hand_over_to_qtool
  choose_tools
  : "${n_connections:=8}" "${n_jobs:=4}"
  page='' && [[ $kind_of_repo == model ]] || page=datasets/
  api=$endpoint/api/${kind_of_repo}s/$repo
  workers='' reporter='' background=''
  trap clean_up EXIT
  trap interrupted INT TERM
  prepare_folder
  find_commit && list_files && make_plan && survey || exit
  files=$endpoint/$page$repo/resolve/$commit
  if [[ -s $work/todo || -s $work/copies ]]; then bring_all || exit; fi
  remove_orphans
  read -r n_files n_bytes < <(awk '{ n += $1 } END { printf "%d %.0f\n", NR, n }' "$work/plan")
  what="$n_files files"
  [[ $n_files != 1 ]] || what='1 file'
  echo "$folder: $what, $(human "$n_bytes"), verified"
  [[ -s $work/placed ]] || echo 'nothing to do: all files are there and right'
}

main "$@"
