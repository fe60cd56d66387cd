{{/* Names of the definitions that the bootstrap may change; a test compares them with what `fsm crds` prints. */}}
{{- define "fsm.definitions" -}}
- accesscerts.policy.flomesh.io
- accesscontrols.policy.flomesh.io
- clusters.multicluster.flomesh.io
- consulconnectors.connector.flomesh.io
- egresses.policy.flomesh.io
- egressgateways.policy.flomesh.io
- eurekaconnectors.connector.flomesh.io
- globaltrafficpolicies.multicluster.flomesh.io
- httproutegroups.specs.smi-spec.io
- ingressbackends.policy.flomesh.io
- isolations.policy.flomesh.io
- meshconfigs.config.flomesh.io
- meshrootcertificates.config.flomesh.io
- nacosconnectors.connector.flomesh.io
- namespacedingresses.networking.flomesh.io
- pluginchains.plugin.flomesh.io
- pluginconfigs.plugin.flomesh.io
- plugins.plugin.flomesh.io
- retries.policy.flomesh.io
- serviceexports.multicluster.flomesh.io
- serviceimports.multicluster.flomesh.io
- tcproutes.specs.smi-spec.io
- trafficsplits.split.smi-spec.io
- traffictargets.access.smi-spec.io
- trafficwarmups.policy.flomesh.io
- upstreamtrafficsettings.policy.flomesh.io
{{- end -}}
