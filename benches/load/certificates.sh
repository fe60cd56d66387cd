#!/bin/sh
# certificates.sh DIRECTORY rsa|ecdsa: a mesh CA and one leaf for each side, valid for a day, named as FSM names them.
set -eu
mkdir -p "$1"
cd "$1"
case $2 in
rsa) key="-newkey rsa:2048" ;;
ecdsa) key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1" ;;
esac
# shellcheck disable=SC2086  # $key is several arguments
openssl req -x509 $key -nodes -days 1 -subj "/CN=bench CA" -keyout ca.key -out ca.pem 2>/dev/null
for side in out:client in:server; do
  name=${side%%:*}
  identity=${side##*:}.bench.cluster.local
  openssl req $key -nodes -subj "/CN=$identity" -keyout "$name.key" -out "$name.csr" 2>/dev/null
  printf 'subjectAltName=DNS:%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$identity" >"$name.ext"
  openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -extfile "$name.ext" -out "$name.pem" 2>/dev/null
done
# Envoy reads the keys itself, as the sidecars' user.
chmod 644 ./*.key
