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

{{/* Vault's token as a file, which follows the Secret. */}}
{{- define "fsm.certificateMounts" -}}
{{- if eq .Values.fsm.certificateProvider.kind "vault" -}}
volumeMounts:
  - {name: vault-token, mountPath: /var/run/fsm/vault, readOnly: true}
{{- end }}
{{- end -}}

{{- define "fsm.certificateVolumes" -}}
{{- if eq .Values.fsm.certificateProvider.kind "vault" -}}
volumes:
  - name: vault-token
    secret: {secretName: {{ include "fsm.vaultSecret" . }}, defaultMode: 0440}
{{- end }}
{{- end -}}
