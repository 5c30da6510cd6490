{{- define "netpol.labels" -}}
app.kubernetes.io/name: netpol
{{- end }}

{{- define "netpol.agentLabels" -}}
app.kubernetes.io/name: netpol
app.kubernetes.io/component: agent
{{- end }}

{{- define "netpol.image" -}}
image: {{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- /* Where load balancers ask kube-proxy, unless it is there. */ -}}
{{- define "netpol.healthPort" -}}
{{ ternary "10256" "9471" (eq .Values.services "on") }}
{{- end }}

{{- define "netpol.config" -}}
api-server: {{ required "apiServer: where is the API server? Give its URL as the kubelets have it: https://HOST:PORT" .Values.apiServer | quote }}
services: {{ .Values.services | quote }}
log: {{ .Values.log | quote }}
healthz-bind: {{ printf "%s:%s" (ternary "0.0.0.0" "127.0.0.1" (eq .Values.services "on")) (include "netpol.healthPort" .) | quote }}
metrics-bind: {{ printf "%s:9470" (ternary "0.0.0.0" "127.0.0.1" .Values.serviceMonitor.enabled) | quote }}
{{- end }}
