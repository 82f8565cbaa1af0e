{{/* The one image of controller, webhook and executor. */}}
{{- define "backproof.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Labels of every object the chart makes. */}}
{{- define "backproof.labels" -}}
app.kubernetes.io/name: backproof
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* Selector labels; call with a dict of root and component. */}}
{{- define "backproof.selector" -}}
app.kubernetes.io/name: backproof
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Non-empty where KubeStash's own operator runs and nobody said takeOver: then our controller stays off. */}}
{{- define "backproof.standsBack" -}}
{{- if eq .Values.coexistence "auto" -}}
{{- range (lookup "apps/v1" "Deployment" "" "").items -}}
{{- if eq (dig "metadata" "labels" "app.kubernetes.io/name" "" .) "kubestash-operator" -}}
{{ .metadata.namespace }}/{{ .metadata.name }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Security settings of the restricted Pod Security profile. */}}
{{- define "backproof.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65534
runAsGroup: 65534
seccompProfile:
  type: RuntimeDefault
{{- end -}}
{{- define "backproof.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where a pod may run; call with the values of the component. */}}
{{- define "backproof.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}
