{{- define "tributary.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods of a component: it never changes. Arguments: [root, component]. */}}
{{- define "tributary.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "tributary.labels" -}}
{{- $root := index . 0 -}}
{{ include "tributary.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tributary
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tributary.serviceAccountName" -}}
{{- default (ternary (include "tributary.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{/* Arguments: [root, image]. */}}
{{- define "tributary.image" -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default (index . 0).Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{/* Secret with the coordinator's ca.crt, tls.crt and tls.key. */}}
{{- define "tributary.tlsSecret" -}}
{{- if .Values.tls.existingSecret -}}
{{ .Values.tls.existingSecret }}
{{- else if .Values.tls.certManager.issuerRef.name -}}
{{ include "tributary.fullname" . }}-tls
{{- else -}}
{{- fail "the coordinator needs a certificate: name a Secret with ca.crt, tls.crt and tls.key in tls.existingSecret, or an issuer of cert-manager in tls.certManager.issuerRef.name (docs/how-to/deploy_on_kubernetes.md)" -}}
{{- end -}}
{{- end -}}

{{/* Where operators and workers in the cluster connect to. */}}
{{- define "tributary.address" -}}
{{ include "tributary.fullname" . }}.{{ .Release.Namespace }}.svc:{{ .Values.service.port }}
{{- end -}}

{{- define "tributary.dataDir" -}}
/var/lib/tributary/{{ .Values.coordinator.persistence.folder }}
{{- end -}}

{{- define "tributary.drainSeconds" -}}
{{- $timeout := .Values.coordinator.config.drain_timeout -}}
{{- if hasSuffix "m" $timeout -}}
{{- mul 60 (trimSuffix "m" $timeout | int) -}}
{{- else -}}
{{- trimSuffix "s" $timeout | int -}}
{{- end -}}
{{- end -}}

{{- define "tributary.coordinatorConfig" -}}
# Written by the chart: change coordinator.config, sites and operators in its values.
federation: {{ .Values.federation | quote }}
data_dir: {{ include "tributary.dataDir" . }}
listen: {{ printf "%s:8443" .Values.coordinator.listenAddress | quote }}
health_listen: {{ printf "%s:8081" .Values.coordinator.listenAddress | quote }}
metrics_listen: {{ printf "%s:9464" .Values.coordinator.listenAddress | quote }}
# A page for people: kubectl port-forward POD 9465.
status_listen: 127.0.0.1:9465
tls:
  ca: /etc/tributary-tls/ca.crt
  certificate: /etc/tributary-tls/tls.crt
  key: /etc/tributary-tls/tls.key
sites: {{ toJson .Values.sites }}
operators: {{ toJson .Values.operators }}
auditors: {{ toJson .Values.auditors }}
{{- with .Values.coordinator.enrolment }}
{{- if .caSecret }}
enrolment:
  ca_certificate: /etc/tributary-ca/tls.crt
  ca_key: /etc/tributary-ca/tls.key
  lifetime: {{ .lifetime }}
  approval: {{ .approval }}
{{- if .port }}
enrol_listen: {{ printf "%s:8444" $.Values.coordinator.listenAddress | quote }}
{{- end }}
{{- end }}
{{- end }}
{{ toYaml .Values.coordinator.config }}
{{- end -}}

{{/* What the coordinator takes over only at a start: a change of it makes a new pod. */}}
{{- define "tributary.coordinatorChecksum" -}}
{{- $config := include "tributary.coordinatorConfig" . | fromYaml -}}
{{- omit $config "tls" "authorities" "sites" "operators" "auditors" "log_level" "log_format" | toJson | sha256sum -}}
{{- end -}}

{{/* Requests and limits of the coordinator; of memory, where the values name none, what `sizing` gives. */}}
{{- define "tributary.coordinatorResources" -}}
{{- $resources := deepCopy .Values.coordinator.resources -}}
{{- if not (or (dig "limits" "memory" "" $resources) (dig "requests" "memory" "" $resources)) -}}
{{- $sizing := .Values.coordinator.sizing -}}
{{- $sites := max (len .Values.sites) ($sizing.sites | int) -}}
{{- $bytes := add (mul 256 1048576) (mul 20 ($sizing.parameters | int64)) (mul 4194304 $sites) -}}
{{- $memory := dict "memory" (printf "%dMi" (div (add $bytes 1048575) 1048576)) -}}
{{- $resources = mergeOverwrite (dict "requests" $memory "limits" (deepCopy $memory)) $resources -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* All values of one site's worker: those of `workers`, under those of the site. Arguments: [root, site]. */}}
{{- define "tributary.worker" -}}
{{- toYaml (mergeOverwrite (omit (deepCopy (index . 0).Values.workers) "sites") (deepCopy (index . 1))) -}}
{{- end -}}

{{/* Arguments: [root, site]. */}}
{{- define "tributary.workerName" -}}
{{- $name := printf "%s-worker-%s" (include "tributary.fullname" (index . 0)) (index . 1).name -}}
{{- if gt (len $name) 52 -}}
{{- fail (printf "the name %s of a StatefulSet has more than 52 characters: set a shorter fullnameOverride" $name) -}}
{{- end -}}
{{ $name }}
{{- end -}}

{{- define "tributary.workerTlsSecret" -}}
{{- $root := index . 0 -}}
{{- $site := index . 1 -}}
{{- if dig "tls" "existingSecret" "" $site -}}
{{ $site.tls.existingSecret }}
{{- else if $root.Values.tls.certManager.issuerRef.name -}}
{{ include "tributary.workerName" . }}-tls
{{- else -}}
{{- fail (printf "site %s needs a certificate: name a Secret with its ca.crt, tls.crt and tls.key in tls.existingSecret of its entry in workers.sites, or an issuer of cert-manager in tls.certManager.issuerRef.name" $site.name) -}}
{{- end -}}
{{- end -}}

{{/* Arguments: [root, worker]. Keys without a value are left to the program's defaults. */}}
{{- define "tributary.workerConfig" -}}
{{- $root := index . 0 -}}
{{- $worker := index . 1 -}}
{{- $config := deepCopy $worker.config -}}
{{- if not $config.consent.runs -}}
{{- fail (printf "site %s consents to no run: name runs or patterns in workers.config.consent.runs" $worker.name) -}}
{{- end -}}
{{- if not $config.proxy -}}
{{- $config = omit $config "proxy" -}}
{{- end -}}
# Written by the chart: change workers.config in its values.
federation: {{ $root.Values.federation | quote }}
site: {{ $worker.name | quote }}
coordinator: {{ include "tributary.workerAddress" . | quote }}
tls:
  ca: /etc/tributary-tls/ca.crt
  certificate: /etc/tributary-tls/tls.crt
  key: /etc/tributary-tls/tls.key
data: /data
state_dir: /var/lib/tributary/state
metrics_listen: {{ printf "%s:9464" $root.Values.coordinator.listenAddress | quote }}
# A page for people: kubectl port-forward POD 9466.
status_listen: 127.0.0.1:9466
{{ toYaml $config }}
{{- end -}}

{{- define "tributary.workerAddress" -}}
{{- $root := index . 0 -}}
{{- $worker := index . 1 -}}
{{- if $worker.coordinator -}}
{{ $worker.coordinator }}
{{- else if $root.Values.coordinator.enabled -}}
{{ include "tributary.address" $root }}
{{- else -}}
{{- fail "workers need a coordinator: set its HOST:PORT in workers.coordinator, or coordinator.enabled" -}}
{{- end -}}
{{- end -}}

{{- define "tributary.workerChecksum" -}}
{{- $config := include "tributary.workerConfig" . | fromYaml -}}
{{- omit $config "tls" "consent" "log_level" "log_format" | toJson | sha256sum -}}
{{- end -}}

{{/* What is wrong with the values and no schema can say. */}}
{{- define "tributary.check" -}}
{{- if not .Values.federation -}}
{{- fail "federation is not set: it is the name in every certificate of the federation, spiffe://FEDERATION/..." -}}
{{- end -}}
{{- if .Values.coordinator.enabled -}}
{{- if not (or .Values.sites .Values.coordinator.enrolment.caSecret) -}}
{{- fail "sites is empty: list the sites that may open a session, or set coordinator.enrolment" -}}
{{- end -}}
{{- if not .Values.operators -}}
{{- fail "operators is empty: list the operators that may call" -}}
{{- end -}}
{{- range .Values.workers.sites -}}
{{- if and (not .coordinator) (not $.Values.workers.coordinator) (not (has .name $.Values.sites)) -}}
{{- fail (printf "workers.sites has %s, which sites does not list: the coordinator would refuse it" .name) -}}
{{- end -}}
{{- end -}}
{{- else if not .Values.workers.sites -}}
{{- fail "nothing to install: coordinator.enabled is false, and workers.sites is empty" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.host is not set: TLS is passed through by the name that sites ask for" -}}
{{- end -}}
{{- if and .Values.gateway.enabled (not (and .Values.gateway.hostnames .Values.gateway.parentRefs)) -}}
{{- fail "gateway.hostnames and gateway.parentRefs are both needed" -}}
{{- end -}}
{{- end -}}

{{/* Where a pod may run. */}}
{{- define "tributary.placement" -}}
{{- range $key := list "runtimeClassName" "priorityClassName" }}
{{- with index $ $key }}
{{ $key }}: {{ . }}
{{- end }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $ $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "tributary.coordinatorMounts" -}}
- name: config
  mountPath: /etc/tributary
  readOnly: true
- name: tls
  mountPath: /etc/tributary-tls
  readOnly: true
{{- if .Values.coordinator.enrolment.caSecret }}
- name: ca
  mountPath: /etc/tributary-ca
  readOnly: true
{{- end }}
- name: data
  mountPath: /var/lib/tributary
- name: tmp
  mountPath: /tmp
{{- with .Values.coordinator.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* All but `data`. */}}
{{- define "tributary.coordinatorVolumes" -}}
- name: config
  configMap:
    name: {{ include "tributary.fullname" . }}-coordinator
- name: tls
  secret:
    secretName: {{ include "tributary.tlsSecret" . }}
    defaultMode: 0440
{{- with .Values.coordinator.enrolment.caSecret }}
- name: ca
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
- name: tmp
  emptyDir: {}
{{- with .Values.coordinator.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What all Certificates have in common. */}}
{{- define "tributary.issued" -}}
{{- with .Values.tls.certManager -}}
duration: {{ .duration }}
renewBefore: {{ .renewBefore }}
privateKey:
  algorithm: ECDSA
  size: 256
  # A new key each time: who has seen an old one has nothing.
  rotationPolicy: Always
issuerRef:
  {{- toYaml .issuerRef | nindent 2 }}
{{- end -}}
{{- end -}}
