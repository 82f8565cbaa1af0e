{{/* The one image of controller, webhook and executor. */}}
{{- define "backproof.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The image of an engine; call with a dict of root and engine, the engine's values. */}}
{{- define "backproof.engineImage" -}}
{{- if .engine.digest -}}
{{ .engine.repository }}@{{ .engine.digest }}
{{- else -}}
{{ .engine.repository }}:{{ .engine.tag | default .root.Chart.AppVersion }}
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

{{/* These labels and further ones; call with a dict of root and more. */}}
{{- define "backproof.labelsWith" -}}
{{ include "backproof.labels" .root }}
{{- with .more }}
{{ toYaml . }}
{{- end }}
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

{{/* Where a pod may run; call with a dict of root, component and values. */}}
{{- define "backproof.placement" -}}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .values.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
{{- else if gt (int .values.replicas) 1 }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "backproof.selector" . | nindent 8 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}
