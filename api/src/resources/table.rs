//! The kinds that the mesh knows, one line each: everything that differs between kinds is here.

/// Calls the given macro with one line for each kind: variant, Rust type, kind, group, versions, older groups, plural,
/// short names, scope.
macro_rules! every_kind {
    ($then:ident) => {
        $then! {
            kubernetes Namespace(k8s_openapi::api::core::v1::Namespace) "Namespace" "" ["v1"] [] "namespaces" ["ns"] Cluster;
            kubernetes ConfigMap(k8s_openapi::api::core::v1::ConfigMap) "ConfigMap" "" ["v1"] [] "configmaps" ["cm"] Namespaced;
            kubernetes Secret(k8s_openapi::api::core::v1::Secret) "Secret" "" ["v1"] [] "secrets" [] Namespaced;
            kubernetes ServiceAccount(k8s_openapi::api::core::v1::ServiceAccount) "ServiceAccount" "" ["v1"] [] "serviceaccounts" ["sa"] Namespaced;
            mesh MeshConfig(crate::resources::mesh_config::MeshConfig) "MeshConfig" "config.flomesh.io" ["v1alpha3", "v1alpha2", "v1alpha1"] [] "meshconfigs" ["meshconfig"] Namespaced;
            mesh MeshRootCertificate(crate::resources::root_certificate::MeshRootCertificate) "MeshRootCertificate" "config.flomesh.io" ["v1alpha3", "v1alpha2"] [] "meshrootcertificates" ["mrc"] Namespaced;
            mesh Plugin(crate::resources::plugin::Plugin) "Plugin" "plugin.flomesh.io" ["v1alpha1"] [] "plugins" ["pi"] Cluster;
            mesh PluginChain(crate::resources::plugin::PluginChain) "PluginChain" "plugin.flomesh.io" ["v1alpha1"] [] "pluginchains" ["pichn"] Namespaced;
            mesh PluginConfig(crate::resources::plugin::PluginConfig) "PluginConfig" "plugin.flomesh.io" ["v1alpha1"] [] "pluginconfigs" ["picfg"] Namespaced;
            mesh HttpRouteGroup(crate::resources::smi::HttpRouteGroup) "HTTPRouteGroup" "specs.smi-spec.io" ["v1alpha4"] [] "httproutegroups" ["htr"] Namespaced;
            mesh TcpRoute(crate::resources::smi::TcpRoute) "TCPRoute" "specs.smi-spec.io" ["v1alpha4"] [] "tcproutes" ["tr"] Namespaced;
            mesh TrafficTarget(crate::resources::smi::TrafficTarget) "TrafficTarget" "access.smi-spec.io" ["v1alpha3"] [] "traffictargets" ["tt"] Namespaced;
            mesh TrafficSplit(crate::resources::smi::TrafficSplit) "TrafficSplit" "split.smi-spec.io" ["v1alpha4", "v1alpha2"] [] "trafficsplits" ["ts"] Namespaced;
            mesh UpstreamTrafficSetting(crate::resources::policy::UpstreamTrafficSetting) "UpstreamTrafficSetting" "policy.flomesh.io" ["v1alpha1"] [] "upstreamtrafficsettings" ["upstreamtrafficsetting"] Namespaced;
            mesh Egress(crate::resources::policy::Egress) "Egress" "policy.flomesh.io" ["v1alpha1"] [] "egresses" ["egress"] Namespaced;
            mesh EgressGateway(crate::resources::policy::EgressGateway) "EgressGateway" "policy.flomesh.io" ["v1alpha1"] [] "egressgateways" ["egressgateway"] Namespaced;
            mesh IngressBackend(crate::resources::policy::IngressBackend) "IngressBackend" "policy.flomesh.io" ["v1alpha1"] [] "ingressbackends" ["ingressbackend"] Namespaced;
            mesh AccessControl(crate::resources::policy::AccessControl) "AccessControl" "policy.flomesh.io" ["v1alpha1"] [] "accesscontrols" ["accesscontrol"] Namespaced;
            mesh AccessCert(crate::resources::policy::AccessCert) "AccessCert" "policy.flomesh.io" ["v1alpha1"] [] "accesscerts" ["acct"] Namespaced;
            mesh Isolation(crate::resources::policy::Isolation) "Isolation" "policy.flomesh.io" ["v1alpha1"] [] "isolations" ["iso"] Cluster;
            mesh Retry(crate::resources::policy::Retry) "Retry" "policy.flomesh.io" ["v1alpha1"] [] "retries" ["retry"] Namespaced;
            mesh TrafficWarmup(crate::resources::policy::TrafficWarmup) "TrafficWarmup" "policy.flomesh.io" ["v1alpha1"] [] "trafficwarmups" ["trafficwarmup"] Namespaced;
            mesh Cluster(crate::resources::multicluster::Cluster) "Cluster" "multicluster.flomesh.io" ["v1alpha1"] ["flomesh.io"] "clusters" [] Cluster;
            mesh ServiceExport(crate::resources::multicluster::ServiceExport) "ServiceExport" "multicluster.flomesh.io" ["v1alpha1"] ["flomesh.io"] "serviceexports" ["sexp"] Namespaced;
            mesh ServiceImport(crate::resources::multicluster::ServiceImport) "ServiceImport" "multicluster.flomesh.io" ["v1alpha1"] ["flomesh.io"] "serviceimports" ["simp"] Namespaced;
            mesh GlobalTrafficPolicy(crate::resources::multicluster::GlobalTrafficPolicy) "GlobalTrafficPolicy" "multicluster.flomesh.io" ["v1alpha1"] ["flomesh.io"] "globaltrafficpolicies" ["gtp"] Namespaced;
            mesh NamespacedIngress(crate::resources::ingress::NamespacedIngress) "NamespacedIngress" "networking.flomesh.io" ["v1alpha1"] ["flomesh.io"] "namespacedingresses" ["nsig"] Namespaced;
            mesh ConsulConnector(crate::resources::connector::ConsulConnector) "ConsulConnector" "connector.flomesh.io" ["v1alpha1"] [] "consulconnectors" ["consulconnector"] Namespaced;
            mesh EurekaConnector(crate::resources::connector::EurekaConnector) "EurekaConnector" "connector.flomesh.io" ["v1alpha1"] [] "eurekaconnectors" ["eurekaconnector"] Namespaced;
            mesh NacosConnector(crate::resources::connector::NacosConnector) "NacosConnector" "connector.flomesh.io" ["v1alpha1"] [] "nacosconnectors" ["nacosconnector"] Namespaced;
            kubernetes Service(k8s_openapi::api::core::v1::Service) "Service" "" ["v1"] [] "services" ["svc"] Namespaced;
            kubernetes Endpoints(k8s_openapi::api::core::v1::Endpoints) "Endpoints" "" ["v1"] [] "endpoints" ["ep"] Namespaced;
            kubernetes EndpointSlice(k8s_openapi::api::discovery::v1::EndpointSlice) "EndpointSlice" "discovery.k8s.io" ["v1"] [] "endpointslices" [] Namespaced;
            kubernetes Ingress(k8s_openapi::api::networking::v1::Ingress) "Ingress" "networking.k8s.io" ["v1"] [] "ingresses" ["ing"] Namespaced;
            kubernetes IngressClass(k8s_openapi::api::networking::v1::IngressClass) "IngressClass" "networking.k8s.io" ["v1"] [] "ingressclasses" [] Cluster;
            kubernetes Deployment(k8s_openapi::api::apps::v1::Deployment) "Deployment" "apps" ["v1"] [] "deployments" ["deploy"] Namespaced;
            kubernetes StatefulSet(k8s_openapi::api::apps::v1::StatefulSet) "StatefulSet" "apps" ["v1"] [] "statefulsets" ["sts"] Namespaced;
            kubernetes DaemonSet(k8s_openapi::api::apps::v1::DaemonSet) "DaemonSet" "apps" ["v1"] [] "daemonsets" ["ds"] Namespaced;
            kubernetes ReplicaSet(k8s_openapi::api::apps::v1::ReplicaSet) "ReplicaSet" "apps" ["v1"] [] "replicasets" ["rs"] Namespaced;
            kubernetes Job(k8s_openapi::api::batch::v1::Job) "Job" "batch" ["v1"] [] "jobs" [] Namespaced;
            kubernetes CronJob(k8s_openapi::api::batch::v1::CronJob) "CronJob" "batch" ["v1"] [] "cronjobs" ["cj"] Namespaced;
            kubernetes Pod(k8s_openapi::api::core::v1::Pod) "Pod" "" ["v1"] [] "pods" ["po"] Namespaced;
        }
    };
}

pub(super) use every_kind;
