{{- define "gatehouse.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- /* Selectors cannot change later: these are only what never does. */ -}}
{{- define "gatehouse.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "gatehouse.labels" -}}
{{ include "gatehouse.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "gatehouse.image" -}}
{{- if .image.digest }}{{ .image.repository }}@{{ .image.digest }}
{{- else }}{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "gatehouse.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "gatehouse.fullname" .) }}
{{- else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- /* Nine tenths of a memory limit in Mi or Gi, as Go writes it. */ -}}
{{- define "gatehouse.gomemlimit" -}}
{{- if hasSuffix "Gi" . }}{{ div (mul (trimSuffix "Gi" . | int) 1024 9) 10 }}MiB
{{- else if hasSuffix "Mi" . }}{{ div (mul (trimSuffix "Mi" . | int) 9) 10 }}MiB
{{- else }}{{ fail (printf "resources.limits.memory is %q; write it in Mi or Gi, which GOMEMLIMIT is made from" .) }}{{ end }}
{{- end }}

{{- /* The restricted profile of Kubernetes' pod security standards, and more. */ -}}
{{- define "gatehouse.podSecurity" -}}
automountServiceAccountToken: false
# Kubernetes would set GATEHOUSE_PORT and the like for a Service of that name, and a
# name of ours that is no key stops the start.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "gatehouse.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  privileged: false
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "gatehouse.spread" -}}
topologySpreadConstraints:
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    # A cluster of one node is no reason not to start.
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "gatehouse.selector" $ | nindent 8 }}
    # Pods of the release before do not count.
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}

{{- define "gatehouse.telemetry" -}}
{{- with .Values.telemetry }}
{{- if .endpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ .endpoint | quote }}}
- {name: OTEL_EXPORTER_OTLP_PROTOCOL, value: {{ .protocol | quote }}}
- {name: OTEL_TRACES_SAMPLER, value: {{ .sampler | quote }}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.namespace.name={{ $.Release.Namespace }},k8s.pod.name=$(POD_NAME)
{{- if .existingSecret }}
- {name: OTEL_EXPORTER_OTLP_HEADERS_FILE, value: /run/secrets/telemetry/headers}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What must be said, and what goes together. */ -}}
{{- define "gatehouse.check" -}}
{{- $v := .Values }}
{{- if not $v.url }}{{ fail "url is missing: the address of the service, such as https://id.example.org" }}{{ end }}
{{- if not $v.mailFrom }}{{ fail "mailFrom is missing: whom letters are from, such as \"Example ID <no-reply@id.example.org>\"" }}{{ end }}
{{- if not $v.secrets.server }}{{ fail "secrets.server is missing: the name of a secret with database-url, valkey-url, seal-key and mail-key; README.md has the command" }}{{ end }}
{{- if and (or $v.ingress.enabled $v.httpRoute.enabled) (not $v.trustedProxies) }}{{ fail "trustedProxies is missing: the networks of the proxy in front, such as [10.244.0.0/16]; without it everybody seems to come from the proxy" }}{{ end }}
{{- if and $v.ingress.enabled $v.httpRoute.enabled }}{{ fail "ingress and httpRoute are both enabled; one is enough" }}{{ end }}
{{- if $v.grpc.enabled }}
{{- if not $v.grpc.client }}{{ fail "grpc.client is missing: the id of a client made with --first-party" }}{{ end }}
{{- if and (not $v.grpc.existingSecret) (not $v.grpc.insecure) }}{{ fail "grpc.existingSecret is missing: a secret of type kubernetes.io/tls; or set grpc.insecure where a mesh encrypts" }}{{ end }}
{{- if and $v.grpc.existingSecret $v.grpc.insecure }}{{ fail "grpc.existingSecret and grpc.insecure are both set; unset one" }}{{ end }}
{{- end }}
{{- end }}
