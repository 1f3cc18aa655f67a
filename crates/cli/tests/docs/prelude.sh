# SPDX-License-Identifier: MIT OR Apache-2.0
# Runs before the commands of each page.
set -e
set -o pipefail
exec 2>&1
mkdir -p srv etc/oxtree "$HOME/.config/ostree" var/lib/oxtree var/log/oxtree
trap 'kill $(jobs -p) 2>/dev/null || true; [ ! -d "$HOME/.gnupg" ] || gpgconf --kill gpg-agent' EXIT

# Starts a server in the background, as the reader does in a second terminal, and prints the address
# that it prints when it is ready. The server started before is ended.
serve() {
  if [ -n "$server" ]; then
    kill "$server"
    wait "$server" || true
  fi
  case " $* " in
    *' --listen'* | *' --config '* | *' -a '*) ;;
    *) set -- "$@" --listen "127.0.0.1:$HTTP_PORT" ;;
  esac
  "$@" >"$HOME/served" 2>"$HOME/log" &
  server=$!
  for _ in $(seq 100); do
    [ ! -s "$HOME/served" ] || break
    sleep 0.1
  done
  cat "$HOME/served"
  [ -s "$HOME/served" ] || cat "$HOME/log"
}

# Makes an archive repository with a commit: repo PATH REF.
repo() {
  mkdir -p tree/usr
  date +%s%N >tree/usr/changing
  [ -e "$1" ] || oxtree init --repo="$1" --mode=archive
  oxtree commit --repo="$1" --branch="$2" --canonical-permissions tree >/dev/null
  oxtree summary --repo="$1" -u
}
