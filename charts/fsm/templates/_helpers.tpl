{{/* Names, labels and blocks that several templates have. */}}

{{- define "fsm.namespace" -}}
{{- default .Release.Namespace .Values.fsm.fsmNamespace -}}
{{- end -}}

{{/* Values under older names (see values.schema.json). */}}
{{- define "fsm.sidecarLogLevel" -}}
{{- default .Values.fsm.sidecar.sidecarLogLevel .Values.fsm.sidecarLogLevel -}}
{{- end -}}
{{- define "fsm.ingress.enabled" -}}
{{- if or .Values.fsm.fsmIngress.enabled (dig "enabled" false (default dict .Values.fsm.ingress)) }}true{{ end -}}
{{- end -}}
{{- define "fsm.ingress.tls.enabled" -}}
{{- if or .Values.fsm.fsmIngress.tls.enabled (dig "tls" "enabled" false (default dict .Values.fsm.ingress)) }}true{{ end -}}
{{- end -}}
{{- define "fsm.ingress.tls.mTLS" -}}
{{- if or .Values.fsm.fsmIngress.tls.mTLS (dig "tls" "mTLS" false (default dict .Values.fsm.ingress)) }}true{{ end -}}
{{- end -}}

{{/* Whether pods get their user ids from OpenShift. */}}
{{- define "fsm.openshift" -}}
{{- if or .Values.fsm.openshift (.Capabilities.APIVersions.Has "security.openshift.io/v1") }}true{{ end -}}
{{- end -}}

{{- define "fsm.labels" -}}
app.kubernetes.io/name: flomesh.io
app.kubernetes.io/instance: {{ .Values.fsm.meshName }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: flomesh.io
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Labels of a component: dict "root" . "app" NAME */}}
{{- define "fsm.componentLabels" -}}
{{ include "fsm.labels" .root }}
app.kubernetes.io/component: {{ .app }}
app: {{ .app }}
meshName: {{ .root.Values.fsm.meshName }}
{{- end -}}

{{/* Name of a cluster-wide object: two meshes of a cluster must not meet. */}}
{{- define "fsm.clusterName" -}}
{{ .app }}-{{ .root.Values.fsm.meshName }}
{{- end -}}

{{/* Image of a component: dict "root" . "key" KEY "base" fsmControl or fsmProxy */}}
{{- define "fsm.image" -}}
{{- $image := .root.Values.fsm.image -}}
{{- $name := default (get $image.name .base) (get $image.name .key) -}}
{{- $digest := default (get $image.digest .base) (get $image.digest .key) -}}
{{- if and $digest (not $image.tag) -}}
{{ $image.registry }}/{{ $name }}@{{ $digest }}
{{- else -}}
{{ $image.registry }}/{{ $name }}:{{ default .root.Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{- define "fsm.sidecarImage" -}}
{{- default (include "fsm.image" (dict "root" . "key" "fsmProxy" "base" "fsmProxy")) .Values.fsm.sidecar.image -}}
{{- end -}}

{{- define "fsm.pullSecrets" -}}
{{- with .Values.fsm.imagePullSecrets }}
imagePullSecrets:
{{ toYaml . | indent 2 }}
{{- end }}
{{- end -}}

{{/* What the restricted level of pod security wants. Of a pod: */}}
{{- define "fsm.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  {{- if not (include "fsm.openshift" .) }}
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{/* Of a container: */}}
{{- define "fsm.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* Where pods go: dict "root" . "app" NAME "on" VALUES-OF-COMPONENT */}}
{{- define "fsm.placement" -}}
{{- with .on.nodeSelector }}
nodeSelector:
{{ toYaml . | indent 2 }}
{{- end }}
affinity:
{{- if .on.affinity }}
{{ toYaml .on.affinity | indent 2 }}
{{- else }}
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            - {key: kubernetes.io/os, operator: In, values: [linux]}
            - {key: kubernetes.io/arch, operator: In, values: [amd64, arm64]}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              app: {{ .app }}
              meshName: {{ .root.Values.fsm.meshName }}
{{- end }}
{{- with concat (default list .on.tolerations) (default list .root.Values.fsm.controlPlaneTolerations) }}
tolerations:
{{ toYaml . | indent 2 }}
{{- end }}
{{- end -}}

{{/* Environment of a container of the control plane. */}}
{{- define "fsm.environment" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- end -}}

{{/* FSM's levels that fsm-control calls otherwise. */}}
{{- define "fsm.logLevel" -}}
{{- $level := .Values.fsm.controllerLogLevel -}}
{{- if has $level (list "fatal" "panic") }}error{{ else if eq $level "disabled" }}off{{ else }}{{ $level }}{{ end -}}
{{- end -}}

{{- define "fsm.meshFlags" -}}
- --mesh-name={{ .Values.fsm.meshName }}
- --fsm-namespace={{ include "fsm.namespace" . }}
- --trust-domain={{ .Values.fsm.trustDomain }}
{{- end -}}

{{- define "fsm.logFlags" -}}
- --log-level={{ include "fsm.logLevel" . }}
- --log-format={{ .Values.fsm.logFormat }}
{{- end -}}

{{/* Audience of the tokens with which sidecars show who they are: worth nothing at the API server. */}}
{{- define "fsm.tokenAudience" -}}fsm{{- end -}}

{{- define "fsm.webhookName" -}}
{{ .Values.fsm.webhookConfigNamePrefix }}-{{ .Values.fsm.meshName }}
{{- end -}}

{{- define "fsm.validatorName" -}}
{{- default (printf "fsm-validator-mesh-%s" .Values.fsm.meshName) .Values.fsm.validatorWebhook.webhookConfigurationName -}}
{{- end -}}

{{/* A PodDisruptionBudget: dict "root" . "app" NAME. One pod may go at any time, so that nodes can be drained. */}}
{{- define "fsm.disruptionBudget" -}}
{{- if .root.Capabilities.APIVersions.Has "policy/v1" }}
apiVersion: policy/v1
{{- else }}
apiVersion: policy/v1beta1
{{- end }}
kind: PodDisruptionBudget
metadata:
  name: {{ .app }}-pdb
  namespace: {{ include "fsm.namespace" .root }}
  labels: {{- include "fsm.componentLabels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      app: {{ .app }}
      meshName: {{ .root.Values.fsm.meshName }}
{{- end -}}

{{/* A HorizontalPodAutoscaler: dict "root" . "app" NAME "scale" VALUES */}}
{{- define "fsm.autoscaler" -}}
{{- if .root.Capabilities.APIVersions.Has "autoscaling/v2" }}
apiVersion: autoscaling/v2
{{- else }}
apiVersion: autoscaling/v2beta2
{{- end }}
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .app }}-hpa
  namespace: {{ include "fsm.namespace" .root }}
  labels: {{- include "fsm.componentLabels" . | nindent 4 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ .app }}
  minReplicas: {{ .scale.minReplicas }}
  maxReplicas: {{ .scale.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .scale.cpu.targetAverageUtilization }}
    - type: Resource
      resource:
        name: memory
        target:
          type: Utilization
          averageUtilization: {{ .scale.memory.targetAverageUtilization }}
{{- end -}}

{{/* A ServiceAccount: dict "root" . "app" NAME */}}
{{- define "fsm.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .app }}
  namespace: {{ include "fsm.namespace" .root }}
  labels: {{- include "fsm.componentLabels" . | nindent 4 }}
{{- end -}}

{{/* The binding of the ClusterRole of the same name to the ServiceAccount of a component. */}}
{{- define "fsm.clusterRoleBinding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ include "fsm.clusterName" . }}
  labels: {{- include "fsm.componentLabels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ include "fsm.clusterName" . }}
subjects:
  - kind: ServiceAccount
    name: {{ .app }}
    namespace: {{ include "fsm.namespace" .root }}
{{- end -}}

{{- define "fsm.roleBinding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .app }}
  namespace: {{ include "fsm.namespace" .root }}
  labels: {{- include "fsm.componentLabels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .app }}
subjects:
  - kind: ServiceAccount
    name: {{ .app }}
    namespace: {{ include "fsm.namespace" .root }}
{{- end -}}

{{/* Which replica writes: the Lease of this name. */}}
{{- define "fsm.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ . }}]
  verbs: [get, update]
{{- end -}}
