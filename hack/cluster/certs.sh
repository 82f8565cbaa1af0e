# shellcheck shell=bash
# Keys, certificates and kubeconfigs of one life of the cluster. Made anew by every start: a few milliseconds
# each with elliptic curves, and nothing of an earlier cluster opens the next one. Sourced by cluster.sh.

# make_key FILE
make_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1" 2>/dev/null; }

# issue DIRECTORY NAME SUBJECT EXTENSIONS: a certificate NAME.crt with key NAME.key, signed by the directory's CA.
# X.509 version 3 (that is what extensions make it): rustls refuses version 1.
issue() {
  local directory=$1 name=$2 subject=$3 extensions=$4
  make_key "$directory/$name.key"
  openssl req -new -key "$directory/$name.key" -subj "$subject" |
    openssl x509 -req -CA "$directory/ca.crt" -CAkey "$directory/ca.key" -set_serial "0x$(openssl rand -hex 8)" -days 3650 \
      -extfile <(printf 'basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\n%s\n' "$extensions") \
      -out "$directory/$name.crt" 2>/dev/null
}

# write_kubeconfig FILE SERVER CERTIFICATES NAME: everything embedded, so that the file alone is enough.
write_kubeconfig() {
  local file=$1 server=$2 certs=$3 name=$4
  (
    umask 077
    cat >"$file" <<EOF
apiVersion: v1
kind: Config
current-context: backproof-local
clusters:
- name: backproof-local
  cluster:
    server: $server
    certificate-authority-data: $(base64 -w 0 "$certs/ca.crt")
users:
- name: $name
  user:
    client-certificate-data: $(base64 -w 0 "$certs/$name.crt")
    client-key-data: $(base64 -w 0 "$certs/$name.key")
contexts:
- name: backproof-local
  context:
    cluster: backproof-local
    user: $name
EOF
  )
}

# make_certificates DIRECTORY NODE_NAME NODE_ADDRESS FIRST_SERVICE_ADDRESS
make_certificates() {
  local directory=$1 node=$2 address=$3 service=$4 client='extendedKeyUsage=clientAuth'
  mkdir -p "$directory"
  chmod 700 "$directory"
  make_key "$directory/ca.key"
  openssl req -x509 -new -key "$directory/ca.key" -subj /CN=backproof-local-ca -days 3650 -out "$directory/ca.crt"
  issue "$directory" apiserver /CN=kube-apiserver "extendedKeyUsage=serverAuth
subjectAltName=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:$service,IP:$address"
  issue "$directory" kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client "$client"
  issue "$directory" admin /O=system:masters/CN=backproof-local-admin "$client"
  issue "$directory" controller-manager /CN=system:kube-controller-manager "$client"
  issue "$directory" scheduler /CN=system:kube-scheduler "$client"
  issue "$directory" proxy /CN=system:kube-proxy "$client"
  issue "$directory" node "/O=system:nodes/CN=system:node:$node" "extendedKeyUsage=clientAuth,serverAuth
subjectAltName=DNS:$node,IP:$address"
  make_key "$directory/service-accounts.key"
  openssl ec -in "$directory/service-accounts.key" -pubout -out "$directory/service-accounts.pub" 2>/dev/null
}
