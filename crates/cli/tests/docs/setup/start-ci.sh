# SPDX-License-Identifier: MIT OR Apache-2.0
# The job's secrets, a build, and the repositories on the server.
mkdir -p tree/usr
echo hello >tree/usr/greeting
for repo in repo nightly; do
  oxtree init --repo=/srv/$repo --mode=archive
done
SSH_KEY=$(cat "$SSH_DIR/client_key")
SSH_KNOWN_HOSTS=$(cat "$SSH_DIR/known_hosts")
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
  -keyout /etc/oxtree/key.pem -out /etc/oxtree/cert.pem 2>/dev/null
export SSL_CERT_FILE=/etc/oxtree/cert.pem

# An issuer: its public key, and a token for a job of each kind.
base64url() {
  base64 -w0 | tr '+/' '-_' | tr -d '='
}
openssl genpkey -algorithm ed25519 -out issuer.pem
x=$(openssl pkey -in issuer.pem -pubout -outform DER | tail -c 32 | base64url)
echo '{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "'"$x"'"}]}' >/etc/jwks.json
token() {
  signed=$(printf '{"alg": "EdDSA", "kid": "1"}' | base64url).$(printf '%s' "$1" | base64url)
  printf '%s' "$signed" >signed
  echo "$signed.$(openssl pkeyutl -sign -rawin -inkey issuer.pem -in signed | base64url)"
}
claims='"aud": "oxtree", "sub": "job", "exp": '$(($(date +%s) + 600))
github=$(token '{"iss": "https://token.actions.githubusercontent.com", '"$claims"',
  "repository": "example/app", "ref": "refs/heads/main"}')
printf '{"value": "%s"}' "$github" >/srv/token
export ACTIONS_ID_TOKEN_REQUEST_TOKEN=x ACTIONS_ID_TOKEN_REQUEST_URL=http://server.example/token?v=1
OXTREE_TOKEN=$(token '{"iss": "https://gitlab.com", '"$claims"',
  "project_path": "example/app", "ref_type": "branch", "ref": "main"}')
export OXTREE_TOKEN
