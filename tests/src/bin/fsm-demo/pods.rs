//! The demo's network: two pods and somebody outside the mesh, each a network namespace on one bridge.
//!
//! The bridge lives in the outsider's namespace, so that nothing of the machine's own network is touched.

use crate::shell::{PREFIX, Workshop};

/// Address of the pod that calls.
pub(crate) const CLIENT_IP: &str = "10.244.77.10";
/// Address of the pod that serves.
pub(crate) const SERVER_IP: &str = "10.244.77.20";
/// Address of the outsider, who is also the pods' gateway.
pub(crate) const OUTSIDE_IP: &str = "10.244.77.1";

/// Names of the namespaces, as `ip netns` knows them.
pub(crate) struct Pods {
    /// The pod that calls.
    pub(crate) client: String,
    /// The pod that serves.
    pub(crate) server: String,
    /// Not in the mesh.
    pub(crate) outside: String,
}

impl Pods {
    /// Makes the network.
    ///
    /// # Errors
    /// When `ip` is missing or the kernel refuses.
    pub(crate) fn make(workshop: &Workshop) -> anyhow::Result<Self> {
        workshop.remove_leftovers()?;
        let name = |role: &str| format!("{PREFIX}{}-{role}", std::process::id());
        let pods = Self { client: name("client"), server: name("server"), outside: name("outside") };
        let outside = &pods.outside;
        for name in [outside, &pods.client, &pods.server] {
            workshop.will_make_namespace(name);
            workshop.must(&format!("ip netns add {name}"))?;
        }
        workshop.must(&format!(
            "ip -n {outside} link add br0 type bridge && ip -n {outside} addr add {OUTSIDE_IP}/24 dev br0 && ip -n {outside} link set br0 up"
        ))?;
        for (pod, role, address) in [(&pods.client, "client", CLIENT_IP), (&pods.server, "server", SERVER_IP)] {
            workshop.must(&format!("ip -n {outside} link add {role} type veth peer name eth0 netns {pod} && ip -n {outside} link set {role} master br0 up"))?;
            workshop.must(&format!("ip -n {pod} link set lo up && ip -n {pod} addr add {address}/24 dev eth0 && ip -n {pod} link set eth0 up && ip -n {pod} route add default via {OUTSIDE_IP}"))?;
        }
        Ok(pods)
    }
}

/// The beginning of a command that runs inside a namespace.
pub(crate) fn inside(namespace: &str) -> String {
    format!("nsenter --net=/run/netns/{namespace}")
}
