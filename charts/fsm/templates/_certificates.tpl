{{/* Who issues certificates: flags, rights and environment of the controller and the injector. */}}

{{- define "fsm.certificateFlags" -}}
{{- $fsm := .Values.fsm -}}
- --ca-bundle-secret-name={{ $fsm.caBundleSecretName }}
{{- if $fsm.featureFlags.enableMeshRootCertificate }}
- --enable-mesh-root-certificate=true
{{- end }}
{{- if ne $fsm.certificateProvider.kind "tresor" }}
- --certificate-manager={{ $fsm.certificateProvider.kind }}
{{- end }}
{{- if eq $fsm.certificateProvider.kind "vault" }}
- --vault-protocol={{ $fsm.vault.protocol }}
- --vault-host={{ $fsm.vault.host }}
- --vault-port={{ $fsm.vault.port }}
- --vault-role={{ $fsm.vault.role }}
- --vault-token-file=/var/run/fsm/vault/{{ include "fsm.vaultKey" . }}
{{- else if eq $fsm.certificateProvider.kind "cert-manager" }}
- --cert-manager-issuer-name={{ $fsm.certmanager.issuerName }}
- --cert-manager-issuer-kind={{ $fsm.certmanager.issuerKind }}
- --cert-manager-issuer-group={{ $fsm.certmanager.issuerGroup }}
{{- end }}
{{- /* MeshRootCertificates of Vault have no fields for these. */}}
{{- if include "fsm.mayAskVault" . }}
- --vault-mount={{ $fsm.vault.mount }}
{{- with $fsm.vault.ca }}{{- if .name }}
- --vault-ca-file=/var/run/fsm/vault-ca/{{ .key }}
{{- end }}{{- end }}
{{- end }}
{{- end -}}

{{/* Not empty where Vault signs, or a MeshRootCertificate may have it sign. */}}
{{- define "fsm.mayAskVault" -}}
{{- if or (eq .Values.fsm.certificateProvider.kind "vault") .Values.fsm.featureFlags.enableMeshRootCertificate -}}yes{{- end -}}
{{- end -}}

{{/* Rights in the control plane's namespace. */}}
{{- define "fsm.rootRules" -}}
{{- $fsm := .Values.fsm -}}
# The roots of the mesh.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ $fsm.caBundleSecretName }}]
  verbs: [get, list, watch, patch]
{{- if or (eq $fsm.certificateProvider.kind "cert-manager") $fsm.featureFlags.enableMeshRootCertificate }}
- apiGroups: [cert-manager.io]
  resources: [certificaterequests]
  verbs: [get, list, watch, create, delete]
{{- end }}
{{- if $fsm.featureFlags.enableMeshRootCertificate }}
# Who signs is said by these; the leader says how far a change is.
- apiGroups: [config.flomesh.io]
  resources: [meshrootcertificates, meshrootcertificates/status]
  verbs: [get, list, watch, patch]
# Secrets of providers, whose names only these objects know.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, patch]
{{- end }}
{{- end -}}

{{/* The Secret with Vault's token: the user's, or the chart's own. */}}
{{- define "fsm.vaultSecret" -}}
{{- default "fsm-vault-token" .Values.fsm.vault.secret.name -}}
{{- end -}}
{{- define "fsm.vaultKey" -}}
{{- default "token" .Values.fsm.vault.secret.key -}}
{{- end -}}

{{/* Vault's token and its roots as files, which follow their objects. */}}
{{- define "fsm.certificateMounts" -}}
{{- $token := eq .Values.fsm.certificateProvider.kind "vault" -}}
{{- $ca := and .Values.fsm.vault.ca.name (include "fsm.mayAskVault" .) -}}
{{- if or $token $ca -}}
volumeMounts:
  {{- if $token }}
  - {name: vault-token, mountPath: /var/run/fsm/vault, readOnly: true}
  {{- end }}
  {{- if $ca }}
  - {name: vault-ca, mountPath: /var/run/fsm/vault-ca, readOnly: true}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "fsm.certificateVolumes" -}}
{{- $token := eq .Values.fsm.certificateProvider.kind "vault" -}}
{{- $ca := and .Values.fsm.vault.ca.name (include "fsm.mayAskVault" .) -}}
{{- if or $token $ca -}}
volumes:
  {{- if $token }}
  - name: vault-token
    secret: {secretName: {{ include "fsm.vaultSecret" . }}, defaultMode: 0440}
  {{- end }}
  {{- if $ca }}
  {{- with .Values.fsm.vault.ca }}
  - name: vault-ca
    {{- if eq .kind "Secret" }}
    secret: {secretName: {{ .name }}, defaultMode: 0440, items: [{key: {{ .key | quote }}, path: {{ .key | quote }}}]}
    {{- else }}
    configMap: {name: {{ .name }}, items: [{key: {{ .key | quote }}, path: {{ .key | quote }}}]}
    {{- end }}
  {{- end }}
  {{- end }}
{{- end }}
{{- end -}}
