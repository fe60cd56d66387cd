//! Which of the kinds the API server has, and in which version.
//!
//! Definitions may be installed after fsm-control, upgraded under it and removed. That a kind is missing is believed only
//! when a server that calls itself ready says so twice: one that has just started does not know the definitions yet, and
//! taking its word would take every policy of the mesh out of force.

use super::View;
use super::retry::{Retry, describe};
use fsm_api::resources::{Kind, KindNames};
use http::Request;
use kube::Client;
use kube::core::ApiResource;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// For all questions of one look together.
const LOOK_DEADLINE: Duration = Duration::from_secs(10);

/// Looks that must agree before a kind counts as missing.
const LOOKS_TO_BELIEVE: u32 = 2;

/// As long as something is missing, looks are so far apart at first …
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// … and at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Between looks when nothing is missing: better versions may have come.
const IDLE_PAUSE: Duration = Duration::from_secs(300);

/// What the API server has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Served {
    /// How many looks there were.
    pub(super) looks: u64,
    resources: BTreeSet<Resource>,
    /// How many looks in a row did not find a kind.
    missed: BTreeMap<Kind, u32>,
}

/// Whether and how a kind can be followed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Availability {
    /// It is there.
    As(ApiResource),
    /// It is certain not to be there.
    Missing,
    /// It is too early to tell.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Resource {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) plural: String,
}

impl Served {
    /// Whether and how the kind of this view can be followed.
    pub(super) fn availability(&self, view: &View) -> Availability {
        if let Some(better) = &view.instead_of {
            match self.of_kind(better) {
                Availability::Missing => {}
                Availability::As(_) => return Availability::Missing,
                Availability::Unknown => return Availability::Unknown,
            }
        }
        self.of_kind(&view.kind)
    }

    fn of_kind(&self, kind: &Kind) -> Availability {
        if let Some(resource) = self.resource(kind) {
            return Availability::As(resource);
        }
        match self.missed.get(kind) {
            Some(missed) if *missed >= LOOKS_TO_BELIEVE => Availability::Missing,
            _ => Availability::Unknown,
        }
    }

    /// The best version: of the kind's own group before older ones, and in the order of the table.
    fn resource(&self, kind: &Kind) -> Option<ApiResource> {
        let names = kind.names()?;
        let wanted = candidates(names).find(|(group, version)| {
            let resource = Resource {
                group: (*group).to_owned(),
                version: (*version).to_owned(),
                plural: names.plural.to_owned(),
            };
            self.resources.contains(&resource)
        });
        let (group, version) = wanted?;
        Some(ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: api_version(group, version),
            kind: names.kind.to_owned(),
            plural: names.plural.to_owned(),
        })
    }

    /// Takes in what was found, by a server that is ready or is not.
    pub(super) fn take_in(&mut self, resources: BTreeSet<Resource>, ready: bool, kinds: &BTreeSet<Kind>) {
        self.looks += 1;
        self.resources = resources;
        for kind in kinds {
            if self.resource(kind).is_some() {
                self.missed.remove(kind);
            } else if ready {
                *self.missed.entry(kind.clone()).or_default() += 1;
            }
        }
    }

    fn is_complete(&self, kinds: &BTreeSet<Kind>) -> bool {
        kinds.iter().all(|kind| self.resource(kind).is_some())
    }
}

/// Looks again and again, and at once when it is asked to.
pub(super) async fn discover(client: Client, kinds: BTreeSet<Kind>, served: watch::Sender<Served>, ask: &Notify) {
    let mut pause = Retry::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        match timeout(LOOK_DEADLINE, look(&client, &kinds)).await {
            Ok(Ok((resources, ready))) => served.send_modify(|served| served.take_in(resources, ready, &kinds)),
            Ok(Err(error)) => debug!("what the API server has cannot be found out: {}", describe(&error)),
            Err(_) => warn!("the API server does not say what it has; it is asked again"),
        }
        let looked = served.borrow().looks > 0;
        let idle = looked && served.borrow().is_complete(&kinds);
        let wait = if idle { IDLE_PAUSE } else { pause.next() };
        tokio::select! {
            () = sleep(wait) => {}
            () = ask.notified() => {
                pause.reset();
                // Whoever asks has just been told something else, and others will ask for the same reason.
                sleep(pause.next()).await;
            }
        }
    }
}

async fn look(client: &Client, kinds: &BTreeSet<Kind>) -> Result<(BTreeSet<Resource>, bool), kube::Error> {
    let groups = client.list_api_groups().await?;
    let served: BTreeSet<String> =
        groups.groups.iter().flat_map(|group| &group.versions).map(|version| version.group_version.clone()).collect();
    let wanted: BTreeSet<(&str, &str)> = kinds.iter().filter_map(Kind::names).flat_map(candidates).collect();
    let mut found = BTreeSet::new();
    for (group, version) in wanted {
        let name = api_version(group, version);
        let listed = match group {
            "" => client.list_core_api_resources(version).await,
            _ if served.contains(&name) => client.list_api_group_resources(&name).await,
            _ => continue,
        };
        let listed = match listed {
            Ok(listed) => listed,
            // It went between the two questions.
            Err(kube::Error::Api(status)) if status.code == 404 => continue,
            Err(error) => return Err(error),
        };
        found.extend(listed.resources.into_iter().map(|resource| Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: resource.name,
        }));
    }
    // Asked last: a server that was not ready a moment ago may have known less.
    Ok((found, is_ready(client).await))
}

async fn is_ready(client: &Client) -> bool {
    let Ok(request) = Request::get("/readyz").body(Vec::new()) else { return false };
    match client.request_text(request).await {
        Ok(_) => true,
        // Who may not ask this, or asks a server that has no such page, has nothing but the answers themselves.
        Err(kube::Error::Api(status)) => matches!(status.code, 401 | 403 | 404),
        Err(_) => false,
    }
}

fn candidates(names: &'static KindNames) -> impl Iterator<Item = (&'static str, &'static str)> {
    let groups = std::iter::once(names.group).chain(names.former_groups.iter().copied());
    groups.flat_map(|group| names.versions.iter().map(move |version| (group, *version)))
}

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}
