{{- define "polyhead.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "polyhead.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "polyhead.labels" -}}
{{ include "polyhead.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "polyhead.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "polyhead.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{/* image of (dict "root" $ "name" NAME) */}}
{{- define "polyhead.image" -}}
{{ .root.Values.image.registry }}{{ .name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* What cannot be told by the schema. */}}
{{- define "polyhead.check" -}}
{{- $many := or .Values.api.autoscaling.enabled (gt (int .Values.api.replicas) 1) }}
{{- if and $many (not .Values.registry.url) }}
{{- fail "more than one api needs registry.url: tasks must be the same in all of them" }}
{{- end }}
{{- if eq .Values.encoder.cpu.enabled .Values.encoder.gpu.enabled }}
{{- fail "enable encoder.cpu or encoder.gpu: their codes differ, so that one api cannot use both" }}
{{- end }}
{{- if and (not .Values.redis.bundled.enabled) (not .Values.redis.external.existingSecret) }}
{{- fail "redis.external.existingSecret is needed where redis.bundled is not enabled" }}
{{- end }}
{{- if and .Values.encoder.autoscaling.enabled (not .Values.encoder.autoscaling.cpuPercent) (not .Values.encoder.autoscaling.queuedTokens) }}
{{- fail "encoder.autoscaling needs cpuPercent or queuedTokens" }}
{{- end }}
{{- if lt (int .Values.shutdown.graceSeconds) (add (int .Values.shutdown.preStopSeconds) 25) }}
{{- fail "shutdown.graceSeconds must be at least preStopSeconds + 25: the service drains for up to 20" }}
{{- end }}
{{- end }}

{{- define "polyhead.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "polyhead.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What all pods of (dict "root" $ "component" NAME) have alike. */}}
{{- define "polyhead.podSpec" -}}
serviceAccountName: {{ include "polyhead.serviceAccount" .root }}
automountServiceAccountToken: false
# Kubernetes would set POLYHEAD_PORT=tcp://... for a service named polyhead: the setting of that name.
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{ range . }}
  - name: {{ . }}{{ end }}
{{- end }}
terminationGracePeriodSeconds: {{ .root.Values.shutdown.graceSeconds }}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "polyhead.selector" $.root | nindent 8 }}
        app.kubernetes.io/component: {{ $.component }}
  {{- end }}
{{- end }}

{{/* Environment of api and encoders. */}}
{{- define "polyhead.environment" -}}
- name: REDIS_URL
  {{- if .Values.redis.bundled.enabled }}
  value: redis://{{ include "polyhead.name" . }}-redis:6379/0
  {{- else }}
  valueFrom: {secretKeyRef: {name: {{ .Values.redis.external.existingSecret }}, key: {{ .Values.redis.external.urlKey }}}}
  {{- end }}
- name: POLYHEAD_ENCODER_KEY
  valueFrom: {secretKeyRef: {name: {{ required "secrets.existingSecret is needed" .Values.secrets.existingSecret }}, key: {{ .Values.secrets.encoderKeyKey }}}}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "polyhead.lifecycle" -}}
lifecycle:
  preStop: {sleep: {seconds: {{ .Values.shutdown.preStopSeconds }}}}
{{- end }}

{{/* Probes of (dict "port" NAME "startSeconds" N): /health is alive, /ready is for traffic. */}}
{{- define "polyhead.probes" -}}
startupProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: {{ div .startSeconds 2 }}
livenessProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /ready, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end }}
