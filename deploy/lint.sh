#!/usr/bin/env bash
# Holds the files of this directory against the programs that read them: make
# lint-deploy. The programs are Debian's, or are built from tools/deploy: helm, what
# Docker Compose reads its files with, Kubernetes' own types, and a collector.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=$PWD/artifacts/deploy-tools
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# The Kubernetes that the chart is rendered for.
kubernetes=1.35.0

say() { printf 'lint-deploy: %s\n' "$*"; }
fail() {
	printf 'lint-deploy: %s\n' "$*" >&2
	exit 1
}
# needs finds a program that .ci/install installs, or says that it is missing.
needs() {
	PATH=$PATH:/usr/sbin command -v "$1" >/dev/null && return
	[ "${CI:-}" != true ] || fail "$1 is not installed; .ci/install installs it"
	say "$1 is not installed: $2 is not looked at"
	return 1
}
# refused runs a command that must fail with these words.
refused() {
	local words=$1 out
	shift
	if out=$("$@" 2>&1); then fail "not refused: $words"; fi
	case $out in *"$words"*) ;; *) fail "refused, but not with \"$words\": $out" ;; esac
}

mkdir -p "$tools"
# As make builds, so that what is compiled already is not compiled again.
CGO_ENABLED=0 go build -C tools/deploy -trimpath -o "$tools/" ./compose ./manifests ./otelcol helm.sh/helm/v3/cmd/helm

for script in deploy/*.sh deploy/compose/*.sh; do
	case $(head -n 1 "$script") in *bash) bash -n "$script" ;; *) sh -n "$script" ;; esac
done

"$tools/compose" -env-file deploy/compose/example.env deploy/compose/compose.yaml >"$scratch/compose.yaml"
"$tools/compose" "$scratch/compose.yaml" >/dev/null # what came of it is a Compose file again
refused 'set it in .env' "$tools/compose" deploy/compose/compose.yaml
say 'compose.yaml is read as Docker Compose reads it'

chart=deploy/helm/gatehouse
render() { "$tools/helm" template id "$chart" --namespace id --kube-version "$kubernetes" "$@"; }
for values in "$chart"/ci/*-values.yaml; do
	"$tools/helm" lint "$chart" --strict --quiet --kube-version "$kubernetes" --values "$values"
	render --values "$values" >"$scratch/manifests.yaml"
	printf 'lint-deploy: %s: ' "$(basename "$values")"
	"$tools/manifests" -others ServiceMonitor,HTTPRoute <"$scratch/manifests.yaml"
done
least=(--values "$chart/ci/least-values.yaml")
refused 'url is missing' render
refused 'mailFrom is missing' render --set url=https://id.example.org
refused 'secrets.server is missing' render --set url=https://id.example.org --set mailFrom=id@example.org
refused 'trustedProxies is missing' render "${least[@]}" --set ingress.enabled=true
refused 'grpc.client is missing' render "${least[@]}" --set grpc.enabled=true
refused 'grpc.existingSecret is missing' render "${least[@]}" --set grpc.enabled=true --set grpc.client=grpc
refused 'write it in Mi or Gi' render "${least[@]}" --skip-schema-validation --set worker.resources.limits.memory=1G
refused '/url' render "${least[@]}" --set url=http://id.example.org
refused GATEHOUSE_SEAL_KEY render "${least[@]}" --set config.GATEHOUSE_SEAL_KEY=x
# A number of a file of values is written as one.
printf 'config: {GATEHOUSE_CLIENT_REGISTRATION_MAX: 1000000}\n' >"$scratch/number.yaml"
render "${least[@]}" --values "$scratch/number.yaml" >"$scratch/number"
grep -q 'GATEHOUSE_CLIENT_REGISTRATION_MAX, value: "1000000"' "$scratch/number" || fail 'a number of config is not written as one'
# The host of a route is one also where the issuer has a port.
render "${least[@]}" --set url=https://id.example.org:8443 --set 'trustedProxies={10.0.0.0/8}' --set ingress.enabled=true >"$scratch/port"
grep -q 'host: id.example.org$' "$scratch/port" || fail 'the host of the ingress is none'
refused "'replica'" render "${least[@]}" --set server.replica=3

if needs systemd-analyze 'systemd/'; then
	# The programs are where the units say only once they are installed.
	mkdir -p "$scratch/units"
	for unit in deploy/systemd/*.service; do
		sed 's#^ExecStart=/usr/bin/[a-z-]*#ExecStart=/bin/true#' "$unit" >"$scratch/units/$(basename "$unit")"
	done
	said=$(SYSTEMD_UNIT_PATH=$scratch/units: systemd-analyze verify --man=no "$scratch"/units/*.service 2>&1) || true
	[ -z "$said" ] || fail "systemd-analyze verify: $said"
	for unit in deploy/systemd/*.service; do
		# 0 is a service that can do nothing, 100 one that can do everything.
		systemd-analyze security --offline=true --no-pager --threshold=15 "$unit" >"$scratch/security" ||
			fail "$(tail -n 1 "$scratch/security")"
		say "$(tail -n 1 "$scratch/security" | sed 's/^[^A-Za-z]*//; s/[^a-zA-Z0-9. :-]//g')"
	done
	mkdir -p "$scratch/root/etc/gatehouse/secrets"
	systemd-sysusers --root="$scratch/root" "$PWD/deploy/systemd/sysusers.d/gatehouse.conf" >/dev/null 2>&1 &&
		grep -q '^gatehouse-worker:' "$scratch/root/etc/passwd" || fail 'sysusers.d/gatehouse.conf makes no users'
fi

if needs envoy envoy.yaml; then
	mkdir -p "$scratch/envoy/tls"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=id.example.org \
		-keyout "$scratch/envoy/tls/tls.key" -out "$scratch/envoy/tls/tls.crt" 2>/dev/null
	for file in envoy.yaml envoy-tls.yaml; do
		sed "s#/etc/envoy/#$scratch/envoy/#" "deploy/$file" >"$scratch/envoy/$file"
	done
	for file in "$scratch/envoy/envoy.yaml" deploy/gateways/envoy.yaml; do
		envoy --mode validate --log-level error --config-path "$file"
	done
fi

# The token is a file of the container.
printf none >"$scratch/otlp_token"
sed "s#/run/secrets/#$scratch/#" deploy/otel.yaml >"$scratch/otel.yaml"
OTLP_BACKEND=otlp.example.org:4317 "$tools/otelcol" validate --config "file:$scratch/otel.yaml"
say 'otel.yaml is valid'
