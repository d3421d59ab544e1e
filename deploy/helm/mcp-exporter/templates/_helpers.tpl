{{- define "mcp-exporter.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name is no value: it becomes the job, which rules and dashboards ask for. */}}
{{- define "mcp-exporter.selector" -}}
app.kubernetes.io/name: mcp-exporter
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "mcp-exporter.labels" -}}
{{ include "mcp-exporter.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "mcp-exporter.metadata" -}}
name: {{ include "mcp-exporter.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "mcp-exporter.labels" . | nindent 2 }}
{{- end -}}

{{- define "mcp-exporter.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "mcp-exporter.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "mcp-exporter.hosts" -}}
{{- $name := include "mcp-exporter.fullname" . -}}
{{- $space := printf "%s.%s" $name .Release.Namespace -}}
{{- $service := printf "%s.svc" $space -}}
{{- $full := printf "%s.%s" $service .Values.clusterDomain -}}
{{- $routes := ternary .Values.httpRoute.hostnames (list) .Values.httpRoute.enabled -}}
{{- concat (list $name $space $service $full) $routes .Values.allowedHosts | uniq | join "," -}}
{{- end -}}

{{/* More than one pod, now or by autoscaling. */}}
{{- define "mcp-exporter.isReplicated" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) -}}true{{- end -}}
{{- end -}}

{{- define "mcp-exporter.tokenSecret" -}}
{{- if .Values.existingTokenSecret -}}
{{- .Values.existingTokenSecret -}}
{{- else if .Values.tokens -}}
{{- printf "%s-tokens" (include "mcp-exporter.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- define "mcp-exporter.hasConfig" -}}
{{- if or .Values.config .Values.existingConfigSecret -}}true{{- end -}}
{{- end -}}

{{/* With the namespace: two releases may look into the same one, and a ClusterRole is everywhere. */}}
{{- define "mcp-exporter.discoveryRole" -}}
{{- printf "%s-%s-discovery" .Release.Namespace (include "mcp-exporter.fullname" .) -}}
{{- end -}}

{{- define "mcp-exporter.check" -}}
{{- $v := .Values -}}
{{- $isGuarded := or $v.tokens $v.existingTokenSecret $v.tls.clientCa $v.allowUnauthenticated -}}
{{- if not $isGuarded -}}
{{- fail "tokens: everybody who reaches the port could call every tool; set tokens, existingTokenSecret or tls.clientCa, or allowUnauthenticated: true" -}}
{{- end -}}
{{- if and $v.tokens $v.existingTokenSecret -}}
{{- fail "existingTokenSecret: tokens are given as well; take one of them" -}}
{{- end -}}
{{- if and $v.allowUnauthenticated (or $v.tokens $v.existingTokenSecret) -}}
{{- fail "allowUnauthenticated: tokens are given as well, and clients need them; take one of them" -}}
{{- end -}}
{{- if and $v.config $v.existingConfigSecret -}}
{{- fail "existingConfigSecret: config is given as well; take one of them" -}}
{{- end -}}
{{- if and $v.config (not (or $v.config.servers $v.config.mcpServers)) -}}
{{- fail "config: no servers; add config.servers, or leave config out and take serversVolume or discovery" -}}
{{- end -}}
{{- if and $v.tls.clientCa (not $v.tls.existingSecret) -}}
{{- fail "tls.clientCa: the certificates are in tls.existingSecret; set it" -}}
{{- end -}}
{{- if and $v.discovery.enabled $v.serversVolume -}}
{{- fail "serversVolume: discovery writes into that directory; take one of them" -}}
{{- end -}}
{{- if and $v.discovery.allNamespaces $v.discovery.namespaces -}}
{{- fail "discovery.allNamespaces: namespaces are given as well; take one of them" -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs: no gateway; add one, such as [{name: gateway}]" -}}
{{- end -}}
{{- end -}}
