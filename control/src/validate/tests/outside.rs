//! NamespacedIngress and ServiceExport: what leads into the cluster from outside.

use super::{judged, world};

const THERE: &str = r"
apiVersion: networking.flomesh.io/v1alpha1
kind: NamespacedIngress
metadata: {namespace: shop, name: first, creationTimestamp: '2026-01-01T00:00:00Z'}
spec: {}
---
apiVersion: multicluster.flomesh.io/v1alpha1
kind: ServiceExport
metadata: {namespace: shop, name: api, creationTimestamp: '2026-01-01T00:00:00Z'}
spec: {rules: [{portNumber: 80, path: /api, pathType: Prefix}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: far}
spec: {type: ExternalName, externalName: far.example.com}
";

fn ingress(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: networking.flomesh.io/v1alpha1, kind: NamespacedIngress, \
         metadata: {{namespace: {namespace}, name: {name}}}, spec: {spec}}}"
    )
}

fn export(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: multicluster.flomesh.io/v1alpha1, kind: ServiceExport, \
         metadata: {{namespace: shop, name: {name}}}, spec: {spec}}}"
    )
}

#[test]
fn what_can_only_be_a_mistake_is_refused_by_field() {
    let world = world(THERE);
    let rule = |rule: &str| export("web", &format!("{{rules: [{rule}]}}"));
    for (yaml, field, says) in [
        (
            ingress("shop", "new", "{}"),
            "metadata.namespace",
            "Each namespace can have ONLY ONE NamespacedIngress, and shop has NamespacedIngress shop/first",
        ),
        (ingress("other", "new", "{serviceType: ClusterIP}"), "spec.serviceType", "write LoadBalancer or NodePort"),
        (ingress("other", "new", "{http: {enabled: false}}"), "spec.http.enabled", "neither http nor tls is enabled"),
        (ingress("other", "new", "{tls: {mTLS: true}}"), "spec.tls.mTLS", "spec.tls.enabled is false"),
        (
            ingress("other", "new", "{tls: {sslPassthrough: {enabled: true, upstreamPort: 443}}}"),
            "spec.tls.sslPassthrough.enabled",
            "spec.tls.enabled is false",
        ),
        (ingress("other", "new", "{http: {port: {port: 0}}}"), "spec.http.port.port", "0 is no port"),
        (ingress("other", "new", "{http: {port: {port: 80, protocol: UDP}}}"), "spec.http.port.protocol", "write TCP"),
        (
            ingress("other", "new", "{tls: {enabled: true, port: {port: 80, targetPort: 8443}}}"),
            "spec.tls.port.port",
            "80 is spec.http.port.port, too",
        ),
        (
            ingress("other", "new", "{tls: {enabled: true, port: {port: 443, targetPort: 8000}}}"),
            "spec.tls.port.targetPort",
            "8000 is spec.http.port.targetPort, too",
        ),
        (rule("{path: /web, pathType: Prefix}"), "spec.rules[0].portNumber", "a rule needs a port"),
        (rule("{portNumber: 0, path: /web, pathType: Prefix}"), "spec.rules[0].portNumber", "0 is no port"),
        (rule("{portNumber: 80, pathType: Prefix}"), "spec.rules[0].path", "such as /web"),
        (rule("{portNumber: 80, path: web, pathType: Exact}"), "spec.rules[0].path", "begins with /"),
        (
            rule("{portNumber: 80, path: /a, pathType: Exact}, {portNumber: 81, path: /a, pathType: Exact}"),
            "spec.rules[1].path",
            "that of spec.rules[0], too",
        ),
        (
            rule("{portNumber: 80, path: /api, pathType: Prefix}"),
            "spec.rules[0].path",
            "The path /api has been defined in ServiceExport shop/api",
        ),
        (
            export("web", "{pathRewrite: {from: '^/web/'}, rules: [{portNumber: 80, path: /web, pathType: Prefix}]}"),
            "spec.pathRewrite",
            "from and to go together",
        ),
        (
            export("far", "{rules: [{portNumber: 80, path: /far, pathType: Prefix}]}"),
            "metadata.name",
            "service shop/far is of type ExternalName",
        ),
    ] {
        let judgement = judged(&world, &yaml, None);
        let [fault] = judgement.faults.as_slice() else { panic!("{yaml}: {judgement:?}") };
        assert_eq!(fault.field, field, "{yaml}: {fault}");
        assert!(fault.text.contains(says), "{yaml}: {fault}");
    }
}

#[test]
fn what_is_right_is_taken_and_what_nothing_follows_from_is_said() {
    let world = world(THERE);
    for (yaml, says) in [
        (ingress("shop", "first", "{replicas: 2}"), "no ingress is run in namespace shop"),
        (ingress("other", "new", "{tls: {enabled: true, mTLS: true}}"), "no ingress is run in namespace other"),
        (export("gone", "{rules: [{portNumber: 80, path: /a, pathType: Exact}]}"), "there is no service shop/gone"),
        (
            export("web", "{rules: [{portNumber: 81, path: /a, pathType: Exact}]}"),
            "service shop/web has no TCP port 81: this rule has no effect",
        ),
    ] {
        let judgement = judged(&world, &yaml, None);
        assert!(judgement.faults.is_empty(), "{yaml}: {judgement:?}");
        assert!(judgement.warnings.iter().any(|warning| warning.contains(says)), "{yaml}: {judgement:?}");
    }
    // The page's, and a path that another one has with another type.
    for good in [
        export("web", "{serviceAccountName: '*', rules: [{portNumber: 80, path: /c1/web, pathType: Prefix}]}"),
        export("web", "{rules: [{portNumber: 80, path: /api, pathType: Exact}]}"),
        export("web", "{pathRewrite: {from: '^/a/?', to: /}, rules: [{portNumber: 80, path: /a, pathType: Prefix}]}"),
    ] {
        let judgement = judged(&world, &good, None);
        assert!(judgement.faults.is_empty() && judgement.warnings.is_empty(), "{good}: {judgement:?}");
    }
}
