//! How a command gets at a cluster: the same flags, files and variables as kubectl's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use http::{HeaderName, HeaderValue};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::{ClusterError, explain};

/// To connect; a server that is there answers in milliseconds.
const CONNECT: Duration = Duration::from_secs(5);
/// One request, from its first byte to the last of the answer, unless --request-timeout says otherwise.
pub(super) const REQUEST: Duration = Duration::from_secs(30);

/// Which cluster, as kubectl takes it.
#[derive(Debug, Clone, Default, Args)]
pub struct Access {
    /// File that says where clusters are [default: KUBECONFIG, else ~/.kube/config, else the cluster of this pod]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of that file [default: its current one]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,
    /// How long one answer of the API server may take, such as 10s [default: 30s]
    #[arg(long, global = true, value_name = "TIME", value_parser = duration, help_heading = "Cluster")]
    pub request_timeout: Option<Duration>,
}

/// Where the API server is and what to call it.
pub(super) struct Found {
    pub(super) config: Config,
    pub(super) context: String,
    /// Namespace of the context, or `default`.
    pub(super) namespace: String,
}

impl Access {
    /// Whether the command line names a cluster.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// The arguments that make helm and kubectl speak to the same cluster; helm calls the context otherwise.
    #[must_use]
    pub fn arguments(&self, context_flag: &str) -> Vec<String> {
        let file = self.kubeconfig.iter().flat_map(|file| ["--kubeconfig".to_owned(), file.display().to_string()]);
        let context = self.context.iter().flat_map(|context| [context_flag.to_owned(), context.clone()]);
        file.chain(context).collect()
    }

    pub(super) async fn find(&self) -> Result<Found, ClusterError> {
        let files = match &self.kubeconfig {
            Some(path) => Some(Kubeconfig::read_from(path).map_err(|error| unusable(path, &error))?),
            None => usual_files()?,
        };
        let Some(files) = files else {
            if self.context.is_some() {
                return Err(ClusterError::NotConfigured);
            }
            let config = Config::incluster().map_err(|_| ClusterError::NotConfigured)?;
            let namespace = config.default_namespace.clone();
            return Ok(Found { config, context: "(the cluster of this pod)".to_owned(), namespace });
        };
        let known: Vec<String> = files.contexts.iter().map(|context| context.name.clone()).collect();
        let Some(context) = self.context.clone().or_else(|| files.current_context.clone()).filter(|c| !c.is_empty())
        else {
            return Err(ClusterError::NoContext { known: listed(&known) });
        };
        if !known.contains(&context) {
            return Err(ClusterError::UnknownContext { context, known: listed(&known) });
        }
        let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(files, &options).await.map_err(|error| {
            ClusterError::Kubeconfig { place: format!("context {context}"), reason: explain(&error) }
        })?;
        let namespace = config.default_namespace.clone();
        Ok(Found { config, context, namespace })
    }

    /// Deadlines and the name that the API server's audit log shows.
    pub(super) fn tune(&self, config: &mut Config) {
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(self.deadline());
        config.write_timeout = Some(self.deadline());
        // Whoever sits in front of it tries again sooner than a back-off would.
        config.default_retry = false;
        let agent = HeaderValue::from_static(concat!("fsm/", env!("CARGO_PKG_VERSION")));
        config.headers.push((HeaderName::from_static("user-agent"), agent));
    }

    pub(super) fn deadline(&self) -> Duration {
        self.request_timeout.unwrap_or(REQUEST)
    }
}

/// The files that `KUBECONFIG` names, else the one in the home directory; `None` where there is none.
fn usual_files() -> Result<Option<Kubeconfig>, ClusterError> {
    let named = std::env::var("KUBECONFIG").unwrap_or_default();
    if named.is_empty() {
        let usual = std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config"));
        let Some(usual) = usual.filter(|file| file.exists()) else { return Ok(None) };
        return Kubeconfig::read_from(&usual).map(Some).map_err(|error| unusable(&usual, &error));
    }
    Kubeconfig::read()
        .map(Some)
        .map_err(|error| ClusterError::Kubeconfig { place: format!("KUBECONFIG ({named})"), reason: explain(&error) })
}

fn unusable(path: &Path, error: &KubeconfigError) -> ClusterError {
    ClusterError::Kubeconfig { place: path.display().to_string(), reason: explain(error) }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// `30s`, `2m`; a bare number is seconds, as in kubectl.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let refused = || format!("{text:?} is no time; give for example 30s, 5m or 1h30m");
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| refused())?;
    Duration::try_from(parsed).map_err(|_| refused())
}

#[cfg(test)]
mod tests;
