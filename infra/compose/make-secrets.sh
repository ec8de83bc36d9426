#!/usr/bin/env bash
# Makes what compose.yaml mounts, once: a CA, certificates for server and agent, passwords and tokens, below ./secrets. Nothing of it belongs in git.
# Files are for user 10001 of the images; without root they stay yours, and `docker compose` then has to run rootless as you.
set -euo pipefail
cd "$(dirname "$0")"
[ -e secrets ] && { echo "secrets/ is there already; remove it to make new ones" >&2; exit 1; }
umask 077
mkdir -p secrets/{ca,server,agent,ray,state}

leaf() { # folder, common name, subject alternative names
  openssl ecparam -name prime256v1 -genkey -noout -out "secrets/$1/tls.key"
  openssl req -new -key "secrets/$1/tls.key" -subj "/CN=$2" |
    openssl x509 -req -days 365 -CA secrets/ca/ca.crt -CAkey secrets/ca/ca.key -CAcreateserial -out "secrets/$1/tls.crt" \
      -extfile <(printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=%s\n' "$3") 2>/dev/null
  cp secrets/ca/ca.crt "secrets/$1/ca.crt"
}

openssl ecparam -name prime256v1 -genkey -noout -out secrets/ca/ca.key
openssl req -x509 -new -key secrets/ca/ca.key -days 3650 -subj "/CN=federation compose CA" -addext "keyUsage=critical,keyCertSign,cRLSign" -out secrets/ca/ca.crt
leaf server server "DNS:server,DNS:server-2,DNS:localhost,IP:127.0.0.1"
leaf agent agent "DNS:agent,DNS:localhost,IP:127.0.0.1,URI:spiffe://compose/agents/eu-1"

password=$(openssl rand -hex 24)
printf '%s' "$password" > secrets/postgres_password
printf 'postgresql+psycopg://fed:%s@postgres/fed' "$password" > secrets/server/database.url
openssl rand -hex 32 | tee secrets/ray/token > secrets/agent/ray.token
openssl rand 32 > secrets/state/grant.key
printf 'fed_%s' "$(openssl rand -base64 32 | tr '+/' '-_' | tr -d '=\n')" > secrets/state/admin.token
if [ "$(id -u)" = 0 ]; then chown -R 10001:10001 secrets/server secrets/agent secrets/state; chown -R 1000:100 secrets/ray; fi
echo "made secrets/; the administrator's token is secrets/state/admin.token, the CA secrets/ca/ca.crt"
