{{- define "federation.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "federation.labels" -}}
app.kubernetes.io/name: federation
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "federation.selector" -}}
app.kubernetes.io/name: federation
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "federation.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "federation.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed where none is created" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "federation.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* The federation file as the server reads it: what the values say, and where the secrets are put. */}}
{{- define "federation.file" -}}
{{- $server := merge (dict
    "listen" "0.0.0.0:7400"
    "agents_listen" "0.0.0.0:7401"
    "http_listen" "0.0.0.0:7402"
    "database_file" "/run/fed/database.url"
    "tables" .Values.tables.url
    "tls" (dict "ca" "/run/fed/tls/ca.crt" "cert" "/run/fed/tls/tls.crt" "key" "/run/fed/tls/tls.key")
  ) .Values.federation.server -}}
{{- $options := deepCopy .Values.tables.options -}}
{{- if .Values.secrets.tables -}}{{- $_ := set $options "key_file" "/run/fed/tables/key" -}}{{- end -}}
{{- if $options -}}{{- $_ := set $server "tables_options" $options -}}{{- end -}}
{{- toYaml (dict "federation" .Values.federation.federation "server" $server "sites" (default list .Values.federation.sites) "users" (default list .Values.federation.users)) -}}
{{- end -}}
