# SPDX-License-Identifier: MIT OR Apache-2.0
oxtree init --repo=/srv/stable --mode=archive --collection-id=org.example.Stable
oxtree init --repo=/srv/beta --mode=archive
install -d -m 700 /srv/gnupg
gpg --homedir /srv/gnupg --batch --passphrase '' --quick-generate-key repo@example.org ed25519 \
  sign never 2>/dev/null
mkdir -p app/files app/export
cat >app/metadata <<'END'
[Application]
name=org.example.App
runtime=org.example.Platform/x86_64/stable
command=hello
END
flatpak build-export --arch=x86_64 --collection-id=org.example.Stable build app stable >/dev/null
