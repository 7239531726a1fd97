#!/usr/bin/env bash
# A real Kubernetes of one node on this machine, for the test of the chart: no systemd, no registry, no virtual machine. Everything is in
# namespaces of its own (network, mounts, processes, names), so that nothing touches the machine's network or outlives `down`. Needs root,
# and the programs of build.sh.
#
#   cluster.sh up                 start it from nothing; ready in ten seconds
#   cluster.sh load TAR...        import images, as docker-archive or OCI
#   cluster.sh exec COMMAND...    run a command in the node's network, with KUBECONFIG set and the cluster's names resolved
#   cluster.sh kubectl ARGS...    the same for kubectl
#   cluster.sh down               stop everything and remove its state
#
#   KUBEONE_CACHE  folder whose bin/ has the programs (default: ~/.cache/kubeone)
#   KUBEONE_DIR    state and logs (default: cluster in that folder)
#   KUBEONE_PVS    how many volumes of 1 GiB to offer (default: 8)
#
# What differs from a cluster in the field: network policies are admitted but not enforced, pods reach no network outside, and every image
# must be loaded first.
set -euo pipefail

CACHE=${KUBEONE_CACHE:-$HOME/.cache/kubeone}
DIR=${KUBEONE_DIR:-$CACHE/cluster}
BIN=$CACHE/bin
PVS=${KUBEONE_PVS:-8}
NODE=node1
NODE_IP=10.77.0.1      # on an interface that exists only in the node's network
POD_CIDR=10.244.0.0/24
SVC_CIDR=10.96.0.0/16
API_IP=10.96.0.1
CGROUP=kubeone         # every pod's cgroup is below this one
K="$BIN/kubeone"
export KUBECONFIG=$DIR/admin.conf

say() { echo "cluster: $*" >&2; }
die() { say "$*"; exit 1; }

# Half a second, without a process for it.
pause() { read -rt 0.5 <> <(:) || true; }

wait_for() { # wait_for SECONDS WHAT CMD...
  local end=$((SECONDS + $1)) what=$2; shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt "$end" ] || die "gave up waiting for $what; see $DIR/log"
    pause
  done
}


cert() { # cert NAME SUBJECT [SANS]
  local ext="extendedKeyUsage=clientAuth,serverAuth"
  [ -z "${3:-}" ] || ext="$ext
subjectAltName=$3"
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" \
    -keyout "$DIR/pki/$1.key" -out "$DIR/pki/$1.csr" 2>/dev/null
  openssl x509 -req -in "$DIR/pki/$1.csr" -CA "$DIR/pki/ca.crt" -CAkey "$DIR/pki/ca.key" \
    -CAcreateserial -days 365 -extfile <(echo "$ext") -out "$DIR/pki/$1.crt" 2>/dev/null
}

kubeconfig() { # kubeconfig NAME
  cat > "$DIR/$1.conf" <<EOF
apiVersion: v1
kind: Config
clusters: [{name: kubeone, cluster: {server: "https://$NODE_IP:6443", certificate-authority: "$DIR/pki/ca.crt"}}]
users: [{name: u, user: {client-certificate: "$DIR/pki/$1.crt", client-key: "$DIR/pki/$1.key"}}]
contexts: [{name: kubeone, context: {cluster: kubeone, user: u}}]
current-context: kubeone
EOF
}

write_files() {
  mkdir -p "$DIR"/{pki,log,run,etcd,containerd,kubelet,cni/net.d,cni/state,varlog,pv,manifests}
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 \
    -subj /CN=kubeone-ca -keyout "$DIR/pki/ca.key" -out "$DIR/pki/ca.crt" 2>/dev/null
  openssl genrsa -out "$DIR/pki/sa.key" 2048 2>/dev/null
  openssl rsa -in "$DIR/pki/sa.key" -pubout -out "$DIR/pki/sa.pub" 2>/dev/null
  cert apiserver /CN=kube-apiserver \
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:$NODE_IP,IP:$API_IP"
  cert admin /O=system:masters/CN=admin
  cert kcm /CN=system:kube-controller-manager
  cert scheduler /CN=system:kube-scheduler
  cert proxy /CN=system:kube-proxy
  cert kubelet /O=system:nodes/CN=system:node:$NODE "DNS:$NODE,IP:$NODE_IP"
  cert coredns /O=kubeone/CN=coredns
  for c in admin kcm scheduler proxy kubelet coredns; do kubeconfig $c; done

  cat > "$DIR/containerd.toml" <<EOF
version = 2
root = "$DIR/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$DIR/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true       # there is no CAP_SYS_RESOURCE here
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "/usr/sbin/runc"
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$DIR/cni/net.d"
EOF

  cat > "$DIR/cni/net.d/10-bridge.conflist" <<EOF
{"cniVersion": "1.0.0", "name": "kubeone", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$DIR/cni/state",
            "ranges": [[{"subnet": "$POD_CIDR"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOF

  cat > "$DIR/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false          # since 1.35 the kubelet refuses cgroup v1 unless told
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
podLogsDir: $DIR/varlog/pods
address: $NODE_IP
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $DIR/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $DIR/pki/kubelet.crt
tlsPrivateKeyFile: $DIR/pki/kubelet.key
clusterDNS: [$NODE_IP]
syncFrequency: 10s           # so that a changed secret is in its pods soon
clusterDomain: cluster.local
resolvConf: ""
failSwapOn: false
oomScoreAdj: 0
maxOpenFiles: 20000
evictionHard: {memory.available: 200Mi, nodefs.available: 2%, imagefs.available: 2%, nodefs.inodesFree: 2%}
imageGCHighThresholdPercent: 100
EOF

  cat > "$DIR/proxy.yaml" <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $DIR/proxy.conf}
clusterCIDR: $POD_CIDR
hostnameOverride: $NODE
bindAddress: 0.0.0.0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
EOF

  cat > "$DIR/Corefile" <<EOF
.:53 {
  bind $NODE_IP
  errors
  health $NODE_IP:8081
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    kubeconfig $DIR/coredns.conf
    pods insecure
    ttl 5
  }
}
EOF

  {
    cat <<EOF
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: coredns}
rules:
- {apiGroups: [""], resources: [services, namespaces, pods, endpoints], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: coredns}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: coredns}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: coredns}]
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: local, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
EOF
    local i
    for i in $(seq "$PVS"); do
      mkdir -p "$DIR/pv/$i"
      cat <<EOF
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: local-$i}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: local
  local: {path: $DIR/pv/$i}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [$NODE]}]}]}}
EOF
    done
  } > "$DIR/manifests/base.yaml"

  printf 'nameserver %s\nsearch cluster.local\noptions ndots:5\n' "$NODE_IP" >"$DIR/resolv.conf"

  # The init of the node's namespaces: mounts of its own, then reap until killed.
  cat > "$DIR/init.sh" <<EOF
#!/bin/bash
set -e
mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock "$DIR/varlog/containers"
mount --bind "$DIR/varlog" /var/log
mkdir -p /var/lib/kubelet /var/lib/cni          # paths fixed in the kubelet and libcni
mount --bind "$DIR/kubelet" /var/lib/kubelet
mount --bind "$DIR/cni" /var/lib/cni
# The kubelet sets three of the machine's own sysctls; show it the values it wants instead.
for kv in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
  f=/run/sysctl-\$(basename "\${kv%=*}"); echo "\${kv#*=}" > "\$f"; mount --bind "\$f" "/proc/sys/\${kv%=*}"
done
hostname $NODE
ip link set lo up
ip link add node0 type bridge
ip addr add $NODE_IP/24 dev node0
ip link set node0 up
ip route add $SVC_CIDR dev node0      # so that the node itself reaches services
echo 1 > /proc/sys/net/ipv4/ip_forward
touch "$DIR/ready"
trap 'exit 0' TERM
sleep infinity & wait
EOF
}


inside() { nsenter -t "$(cat "$DIR/init.pid")" -m -n -p -u -i -- "$@"; }

start() { # start NAME CMD...: a daemon of the node, its log in $DIR/log/NAME.log
  local name=$1; shift
  inside setsid nice -n 15 "$@" > "$DIR/log/$name.log" 2>&1 < /dev/null &
}

# A pod's view of names: `tributary.federation.svc` is found as in the cluster.
from_node() {
  # shellcheck disable=SC2016  # for the shell inside
  PATH=$BIN:$PATH nsenter -t "$(cat "$DIR/init.pid")" -n -- unshare --mount \
    sh -c 'mount --bind "$1" /etc/resolv.conf; shift; exec "$@"' exec "$DIR/resolv.conf" "$@"
}

kube() { nsenter -t "$(cat "$DIR/init.pid")" -n -- "$K" kubectl "$@"; }

alive() { [ -s "$DIR/init.pid" ] && kill -0 "$(cat "$DIR/init.pid")" 2>/dev/null; }

# The folders of pods' cgroups: one in the one hierarchy of version 2, or one for each controller of version 1.
cgroups() {
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    printf '%s\n' "/sys/fs/cgroup/$CGROUP"
    return
  fi
  local folder
  for folder in /sys/fs/cgroup/*/; do
    folder=${folder%/}
    [ "$folder" = /sys/fs/cgroup/unified ] || printf '%s\n' "$folder/$CGROUP"
  done
}

make_cgroups() {
  local folder parent name
  for folder in $(cgroups); do
    mkdir -p "$folder"
    parent=${folder%/*}
    if [ -e "$parent/cgroup.subtree_control" ]; then
      sed 's/[a-z_]*/+&/g' "$parent/cgroup.controllers" >"$parent/cgroup.subtree_control"
    fi
    for name in cpuset.cpus cpuset.mems; do   # a new folder of version 1 has none
      [ ! -e "$parent/cpuset.cpus" ] || cat "$parent/$name" >"$folder/$name"
    done
  done
}

remove_cgroups() {
  local folder
  for folder in $(cgroups); do
    [ ! -d "$folder" ] || wait_for 10 "$folder to be empty" find "$folder" -depth -type d -exec rmdir {} +
  done
}

load() {
  local t
  for t in "$@"; do
    inside ctr -a /run/containerd/containerd.sock -n k8s.io images import "$(realpath "$t")" >&2
  done
}

pause_image() { # the image that holds a pod's namespaces, out of one static C file
  local d=$DIR/pause; mkdir -p "$d/rootfs"
  cat > "$d/pause.c" <<'EOF'
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void down(int s) { (void)s; _exit(0); }
static void reap(int s) { (void)s; while (waitpid(-1, NULL, WNOHANG) > 0) ; }
int main(void) {
  signal(SIGINT, down); signal(SIGTERM, down); signal(SIGCHLD, reap);
  for (;;) pause();
}
EOF
  gcc -Os -static -s -o "$d/rootfs/pause" "$d/pause.c"
  python3 - "$d" <<'EOF'
import hashlib, io, json, sys, tarfile
d = sys.argv[1]
layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as t:
    t.add(d + "/rootfs/pause", "pause")
layer = layer.getvalue()
config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/pause"]},
                     "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}).encode()
files = {"config.json": config, "layer.tar": layer, "manifest.json": json.dumps(
    [{"Config": "config.json", "RepoTags": ["localhost/pause:1"], "Layers": ["layer.tar"]}]).encode()}
with tarfile.open(d + "/pause.tar", "w") as t:
    for name, data in files.items():
        info = tarfile.TarInfo(name); info.size = len(data)
        t.addfile(info, io.BytesIO(data))
EOF
  load "$d/pause.tar"
}


up() {
  ! alive || die "already up in $DIR"
  [ ! -e "$DIR" ] || die "$DIR exists; run '$0 down' first"
  [ -x "$K" ] || die "$K is missing: bash tests/kube/build.sh --apt"
  local p
  for p in openssl containerd runc ctr nft ip gcc python3; do command -v $p >/dev/null || die "$p is missing"; done
  local t0=$SECONDS
  write_files

  make_cgroups

  setsid unshare --mount --net --pid --uts --ipc --fork --mount-proc --kill-child \
    bash "$DIR/init.sh" > "$DIR/log/init.log" 2>&1 < /dev/null &
  local outer=$!
  wait_for 10 "the namespaces" test -e "$DIR/ready"
  pgrep -P "$outer" > "$DIR/init.pid"

  start etcd "$K" etcd --data-dir "$DIR/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync
  start containerd containerd -c "$DIR/containerd.toml"
  start apiserver "$K" kube-apiserver --etcd-servers http://127.0.0.1:2379 --bind-address 0.0.0.0 --advertise-address $NODE_IP \
    --secure-port 6443 --tls-cert-file "$DIR/pki/apiserver.crt" --tls-private-key-file "$DIR/pki/apiserver.key" \
    --client-ca-file "$DIR/pki/ca.crt" --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --kubelet-preferred-address-types InternalIP \
    --kubelet-client-certificate "$DIR/pki/admin.crt" --kubelet-client-key "$DIR/pki/admin.key" \
    --kubelet-certificate-authority "$DIR/pki/ca.crt" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local --service-account-key-file "$DIR/pki/sa.pub" \
    --service-account-signing-key-file "$DIR/pki/sa.key" --service-cluster-ip-range $SVC_CIDR --allow-privileged
  wait_for 120 "the API server" kube get --raw /readyz
  say "API server ready after $((SECONDS - t0)) s"
  start kcm "$K" kube-controller-manager --kubeconfig "$DIR/kcm.conf" --leader-elect=false --use-service-account-credentials \
    --service-account-private-key-file "$DIR/pki/sa.key" --root-ca-file "$DIR/pki/ca.crt" --cluster-signing-cert-file "$DIR/pki/ca.crt" \
    --cluster-signing-key-file "$DIR/pki/ca.key" --bind-address 127.0.0.1
  start scheduler "$K" kube-scheduler --kubeconfig "$DIR/scheduler.conf" --leader-elect=false --bind-address 127.0.0.1
  kube apply -f "$DIR/manifests/base.yaml" > "$DIR/log/base.log"
  pause_image 2> "$DIR/log/pause.log"
  start kubelet "$K" kubelet --config "$DIR/kubelet.yaml" --kubeconfig "$DIR/kubelet.conf" --root-dir "$DIR/kubelet" \
    --hostname-override $NODE --node-ip $NODE_IP
  start proxy "$K" kube-proxy --config "$DIR/proxy.yaml"
  [ ! -x "$BIN/coredns" ] || start coredns "$BIN/coredns" -conf "$DIR/Corefile"
  wait_for 60 "the node to register" kube get node $NODE
  kube wait --for=condition=Ready "node/$NODE" --timeout=120s > /dev/null
  wait_for 60 "the default service account" kube -n default get serviceaccount default
  say "node $NODE ready after $((SECONDS - t0)) s; export KUBECONFIG=$KUBECONFIG and use '$0 exec CMD'"
}

down() {
  if alive; then
    local pid; pid=$(cat "$DIR/init.pid")
    kill -KILL "$pid"          # the kernel ends every process of its pid namespace
    while kill -0 "$pid" 2>/dev/null; do pause; done
  fi
  remove_cgroups
  rm -rf "$DIR"
  rmdir /var/lib/kubelet /var/lib/cni 2>/dev/null || true
  say down
}

case "${1:-}" in
  up) up ;;
  down) down ;;
  load) shift; alive || die "not up"; load "$@" ;;
  kubectl) shift; alive || die "not up"; kube "$@" ;;
  exec) shift; alive || die "not up"; from_node "$@" ;;
  *) sed -n '2,19s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
