//! What the API server says, as changes of the few kinds that a node needs.
//!
//! A watch that breaks is begun anew after a pause; what has gone meanwhile is told then. Nothing here ends before the
//! process.

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// Pause before a watch is begun anew, and the longest of them.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// An object of a kind that a node needs.
#[derive(Clone, Debug)]
pub(super) enum Object {
    Pod(Box<Pod>),
    Service(Box<Service>),
    Slice(Box<EndpointSlice>),
    ConfigMap(Box<ConfigMap>),
    Secret(Box<Secret>),
}

/// What has happened to one.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// It is new, or different.
    Applied(Object),
    /// It is gone; this is how it was last.
    Removed(Object),
}

/// The pause that comes next; doubled each time.
struct Pauses(Duration);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = PAUSE;
    }
}

/// Follows everything, each kind by a task.
pub(super) fn start(client: &Client, changes: &Sender<Change>) {
    follow(client, changes, |pod| Object::Pod(Box::new(pod)));
    follow(client, changes, |service| Object::Service(Box::new(service)));
    follow(client, changes, |slice| Object::Slice(Box::new(slice)));
    follow(client, changes, |map| Object::ConfigMap(Box::new(map)));
    follow(client, changes, |secret| Object::Secret(Box::new(secret)));
}

fn follow<K>(client: &Client, changes: &Sender<Change>, wrap: fn(K) -> Object)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let (api, changes) = (Api::<K>::all(client.clone()), changes.clone());
    tokio::spawn(async move {
        let mut events = watcher::watcher(api, watcher::Config::default()).backoff(Pauses(PAUSE)).boxed();
        let mut known: HashMap<(Option<String>, Option<String>), K> = HashMap::new();
        let mut listed: HashMap<(Option<String>, Option<String>), K> = HashMap::new();
        let key = |object: &K| (object.meta().namespace.clone(), object.meta().name.clone());
        loop {
            let event = match events.try_next().await {
                Ok(Some(event)) => event,
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!("{} are not told now: {error}", K::plural(&()));
                    continue;
                }
            };
            let mut news = Vec::new();
            match event {
                Event::Init => listed.clear(),
                Event::InitApply(object) => {
                    listed.insert(key(&object), object.clone());
                    news.push(Change::Applied(wrap(object)));
                }
                Event::InitDone => {
                    let fresh = std::mem::take(&mut listed);
                    let gone = known.extract_if(|key, _| !fresh.contains_key(key));
                    news.extend(gone.map(|(_, object)| Change::Removed(wrap(object))));
                    known = fresh;
                }
                Event::Apply(object) => {
                    known.insert(key(&object), object.clone());
                    news.push(Change::Applied(wrap(object)));
                }
                Event::Delete(object) => {
                    known.remove(&key(&object));
                    news.push(Change::Removed(wrap(object)));
                }
            }
            for change in news {
                if changes.send(change).await.is_err() {
                    return;
                }
            }
        }
    });
}
