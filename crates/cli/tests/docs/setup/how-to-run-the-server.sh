# SPDX-License-Identifier: MIT OR Apache-2.0
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost \
  -keyout /etc/oxtree/key.pem -out /etc/oxtree/cert.pem 2>/dev/null
: >/etc/oxtree/builders.gpg
export CURL_CA_BUNDLE=/etc/oxtree/cert.pem
