{{- define "site.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "site.labels" -}}
app.kubernetes.io/name: federation-site
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
federation/site: {{ .Values.site.site }}
{{- end -}}

{{- define "site.agent" -}}
app.kubernetes.io/name: federation-site
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: agent
{{- end -}}

{{/* Every pod of the Ray cluster, head and workers alike. KubeRay sets ray.io/cluster by itself. */}}
{{- define "site.ray" -}}
app.kubernetes.io/name: federation-site
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: ray
{{- end -}}

{{- define "site.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "site.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed where none is created" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "site.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "site.file" -}}
{{- $site := deepCopy .Values.site -}}
{{- $_ := set $site "gateway_listen" "0.0.0.0:7411" -}}
{{- $_ := set $site "gateway_inside" (printf "%s.%s.svc:7411" (include "site.name" .) .Release.Namespace) -}}
{{- $_ := set $site "tls" (dict "ca" "/run/fed/tls/ca.crt" "cert" "/run/fed/tls/tls.crt" "key" "/run/fed/tls/tls.key") -}}
{{- if .Values.secrets.storage -}}
{{- $_ := set $site "storage" (merge (dict "key_file" "/run/fed/storage.key") (default dict $site.storage)) -}}
{{- end -}}
{{- if .Values.ray.enabled -}}
{{- $_ := set $site "ray" (dict "address" (printf "http://%s-ray-head-svc:8265" (include "site.name" .)) "token_file" "/run/fed/ray.token") -}}
{{- end -}}
{{- if .Values.secrets.metrics -}}
{{- $_ := set $site "http_listen" "0.0.0.0:7412" -}}
{{- $_ := set $site "http_token_file" "/run/fed/metrics.token" -}}
{{- end -}}
{{- toYaml (dict "federation" .Values.federation "server" (dict "agents_address" .Values.catalog) "sites" (list $site)) -}}
{{- end -}}

{{/* What a pod of the Ray cluster is made of; `rank` is head or worker. */}}
{{- define "site.rayContainer" -}}
name: ray-{{ .rank }}
image: {{ .root.Values.ray.image }}
imagePullPolicy: IfNotPresent
env:
  # A token is asked for by every port of Ray: it is off by default for `ray start`, and an open one runs anybody's code.
  - { name: RAY_AUTH_MODE, value: token }
  - { name: RAY_AUTH_TOKEN_PATH, value: /run/ray/token }
  - { name: RAY_USAGE_STATS_ENABLED, value: "0" }
  {{- range $name, $value := .root.Values.ray.env }}
  - { name: {{ $name }}, value: {{ $value | quote }} }
  {{- end }}
resources: {{- toYaml .resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: { drop: [ALL] }
volumeMounts:
  - { name: token, mountPath: /run/ray, readOnly: true }
  - { name: shm, mountPath: /dev/shm }
  - { name: tmp, mountPath: /tmp }
{{- end -}}

{{- define "site.rayPod" -}}
{{- $scales := and .root.Values.ray.autoscaling (eq .rank "head") -}}
{{- if not $scales }}
serviceAccountName: {{ include "site.name" .root }}-ray
automountServiceAccountToken: false
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 100
  fsGroup: 100
  seccompProfile: { type: RuntimeDefault }
volumes:
  - { name: token, secret: { secretName: {{ .root.Values.secrets.ray }}, defaultMode: 0440 } }
  - { name: shm, emptyDir: { medium: Memory } }
  - { name: tmp, emptyDir: {} }
{{- end -}}
