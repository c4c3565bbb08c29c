#!/bin/sh
# From a fresh clone to a conversation: makes .venv, installs qtool into it, fetches the starter
# model (98 MB), examines this machine for it, and lets it answer once. Needs Python >= 3.11 and a
# package index (pip's own configuration is used). May be run again: what is there is kept.
set -eu
cd "$(dirname "$0")/.."
. scripts/environment.sh

prompt="In one sentence, what is the capital of France known for?"

make_environment .venv qtool --editable .

echo "==> fetching the starter model"
.venv/bin/qtool download starter </dev/null

echo "==> examining this machine for it"
.venv/bin/qtool doctor starter </dev/null

echo "==> asking it: $prompt"
.venv/bin/qtool chat starter --prompt "$prompt" --temperature 0 --max-new-tokens 100 </dev/null

cat <<'TXT'

==> done. To go on:
    .venv/bin/qtool chat starter              a conversation; Ctrl+D ends it
    .venv/bin/qtool download ORG/NAME:Q4_K_M  another model; through a mirror with
                                              HF_ENDPOINT=https://hf-mirror.com
    .venv/bin/qtool doctor ./MODEL            what this machine needs to run it
TXT
