//! Follows one kind, for ever: finds out how it is served, lists and watches it, and begins again when that ends.

use super::discovery::{Availability, Served};
use super::needs::Needed;
use super::raw::Raw;
use super::retry::{Failure, Retry, classify, describe, random};
use super::shelf::Shelf;
use super::view::Within;
use super::{Report, View};
use crate::source::Event;
use fsm_api::resources::Kind;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use kube::core::ApiResource;
use kube::runtime::watcher;
use kube::{Api, Client};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

/// The API server ends a watch after so many seconds, and up to a quarter more, so that not all end together. It is also
/// how long a connection may be dead without anybody noticing.
const WATCH_SECONDS: u32 = 120;

/// For one page of a list. A watch has its end from the API server, else from kube's watcher, else from the connection
/// itself ([`super::client::SILENCE`]).
const LIST_DEADLINE: Duration = Duration::from_secs(60);

/// Between attempts, at first …
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// … and at most: so long does a mesh wait for what changed while the API server was away.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// A failure is reported when it repeats: servers are restarted, and connections end.
const FAILURES_TO_REPORT: u32 = 2;

/// An attempt that did not fail for so long succeeded. Longer than connecting may take.
const SETTLED: Duration = Duration::from_secs(7);

/// Namespaces that join the mesh within this time share one new list of pods.
const JOINING: Duration = Duration::from_millis(100);

/// So long is a policy kept back, and are pods of a namespace that joins, until what they need is there.
const NEEDED_AT_MOST: Duration = Duration::from_secs(4);

type Stream = BoxStream<'static, watcher::Result<watcher::Event<Raw>>>;

/// The namespaces that count; `None`: they are not known yet.
pub(super) type Namespaces = Option<Arc<BTreeSet<String>>>;

/// What one kind's task works with.
pub(super) struct Watching {
    pub(super) client: Client,
    pub(super) view: View,
    pub(super) served: watch::Receiver<Served>,
    /// Wakes discovery.
    pub(super) ask: Arc<Notify>,
    pub(super) namespaces: watch::Sender<Namespaces>,
    /// More than them.
    pub(super) needed: Arc<Needed>,
    pub(super) mesh_name: String,
    /// The control plane's own namespace counts always.
    pub(super) own_namespace: String,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) reports: mpsc::Sender<Report>,
}

/// Nobody listens any more.
struct Unheard;

/// How it stands with failures in a row.
struct Attempts {
    retry: Retry,
    failures: u32,
    reported: bool,
    /// When the latest attempt counts as successful.
    settles: Option<Instant>,
}

impl Watching {
    /// Follows the kind until nobody listens any more.
    pub(super) async fn run(mut self) {
        let mut shelf = Shelf::new(self.view.clone());
        while let Ok(resource) = self.resource(&mut shelf).await {
            if self.watch(&mut shelf, &resource).await.is_err() {
                return;
            }
        }
    }

    /// Waits until the kind can be followed.
    async fn resource(&mut self, shelf: &mut Shelf) -> Result<ApiResource, Unheard> {
        loop {
            let availability = self.served.borrow_and_update().availability(&self.view);
            match availability {
                Availability::As(resource) => return Ok(resource),
                Availability::Missing => {
                    let first = !shelf.is_listed();
                    let events = shelf.take_in_absence();
                    self.say(events).await?;
                    self.tell_named(shelf);
                    self.tell_namespaces(shelf);
                    self.tell_complete(shelf).await?;
                    if first {
                        debug!("the API server has no {}; they are followed as soon as it has", self.view.kind);
                        self.report(Report::Listed).await?;
                    }
                    self.report_trouble(None).await?;
                }
                Availability::Unknown => {}
            }
            self.served.changed().await.map_err(|_| Unheard)?;
        }
    }

    /// Lists and watches the kind as long as it is served so. What fails is tried again.
    async fn watch(&mut self, shelf: &mut Shelf, resource: &ApiResource) -> Result<(), Unheard> {
        let (mut namespaces, partly) = match self.view.within {
            Within::Everywhere => (self.namespaces.subscribe(), false),
            Within::Mesh => (self.namespaces.subscribe(), true),
            Within::Needed => (self.needed.subscribe(), true),
        };
        if partly {
            let known = namespaces.wait_for(Option::is_some).await.map_err(|_| Unheard)?.clone();
            let events = known.map(|known| shelf.want(known)).unwrap_or_default();
            self.tell_complete(shelf).await?;
            self.say(events).await?;
        }
        let mut attempts = Attempts::new();
        let mut stream = self.stream(resource);
        loop {
            let listing = shelf.is_listing();
            let item = tokio::select! {
                item = next(&mut stream, listing) => item,
                () = attempts.settled() => {
                    self.succeed(&mut attempts).await?;
                    continue;
                }
                changed = self.served.changed() => {
                    changed.map_err(|_| Unheard)?;
                    match self.served.borrow_and_update().availability(&self.view) {
                        Availability::As(now) if now == *resource => continue,
                        // A look that did not find it is no reason to stop as long as the watch itself goes on.
                        Availability::Unknown => continue,
                        Availability::As(_) | Availability::Missing => return Ok(()),
                    }
                }
                changed = namespaces.changed(), if partly => {
                    changed.map_err(|_| Unheard)?;
                    if self.adopt(shelf, &mut namespaces).await? {
                        stream = self.stream(resource);
                    }
                    continue;
                }
            };
            match item {
                Some(Ok(event)) => {
                    let done = matches!(event, watcher::Event::InitDone);
                    let first = done && !shelf.is_listed();
                    if !matches!(event, watcher::Event::Init) {
                        self.succeed(&mut attempts).await?;
                    }
                    let events = shelf.take_in(event);
                    let news = done || !events.is_empty();
                    if news {
                        self.announce(shelf).await;
                    }
                    self.say(events).await?;
                    if news {
                        self.tell_named(shelf);
                    }
                    self.tell_namespaces(shelf);
                    self.tell_complete(shelf).await?;
                    if first {
                        self.report(Report::Listed).await?;
                    }
                }
                Some(Err(error)) => {
                    if classify(&error) == Failure::Missing {
                        return self.wait_for_another_look().await;
                    }
                    self.fail(&mut attempts, &error).await?;
                }
                None => {
                    debug!("the list of {} did not come; it is asked for anew", self.view.kind);
                    stream = self.stream(resource);
                }
            }
        }
    }

    fn stream(&self, resource: &ApiResource) -> Stream {
        let api = Api::<Raw>::all_with(self.client.clone(), resource);
        let more = (f64::from(WATCH_SECONDS) / 4.0 * random()) as u32;
        watcher::watcher(api, self.view.config(WATCH_SECONDS + more)).boxed()
    }

    /// Takes over the namespaces that count now. True: some joined, and their objects have to be listed.
    async fn adopt(&self, shelf: &mut Shelf, namespaces: &mut watch::Receiver<Namespaces>) -> Result<bool, Unheard> {
        sleep(JOINING).await;
        let Some(now) = namespaces.borrow_and_update().clone() else { return Ok(false) };
        let joined = shelf.wanted().is_none_or(|before| !now.is_subset(before));
        let events = shelf.want(now.clone());
        self.tell_complete(shelf).await?;
        self.say(events).await?;
        if joined && self.view.within == Within::Mesh {
            // A proxy that is told of its pod before its services were there would be told half of what it serves.
            self.wait_for(&now).await;
        }
        Ok(joined)
    }

    /// Before policies are said: if they name namespaces that were not followed until now, what is in there is waited for.
    async fn announce(&self, shelf: &Shelf) {
        if shelf.is_listed() && self.view.names_others() {
            let more = self.needed.update(|needs| needs.add_named(&self.view.kind, shelf.named()));
            if let Some(needed) = more {
                self.wait_for(&needed).await;
            }
        }
    }

    /// After policies were said: these namespaces they name, and no others any more.
    fn tell_named(&self, shelf: &Shelf) {
        if self.view.names_others() && !shelf.is_listing() {
            self.needed.update(|needs| needs.set_named(&self.view.kind, shelf.named()));
        }
    }

    async fn wait_for(&self, namespaces: &BTreeSet<String>) {
        if !self.needed.wait_for(namespaces, NEEDED_AT_MOST).await {
            debug!("{}: what it needs of other namespaces has not come; it is looked at without", self.view.kind);
        }
    }

    /// Tells of which namespaces everything is there.
    async fn tell_complete(&self, shelf: &Shelf) -> Result<(), Unheard> {
        let (kind, namespaces) = (self.view.kind.clone(), shelf.complete());
        if self.view.within == Within::Needed && self.needed.is_news(&kind, &namespaces) {
            // Before anybody who waits for it goes on, and says what follows.
            self.say(vec![Event::Complete { kind, namespaces: namespaces.clone() }]).await?;
            self.needed.set_complete(&self.view.kind, namespaces);
        }
        Ok(())
    }

    /// Tells which are the namespaces of the mesh.
    fn tell_namespaces(&self, shelf: &Shelf) {
        if self.view.kind != Kind::Namespace || shelf.is_listing() {
            return;
        }
        let own = std::iter::once(self.own_namespace.as_str());
        let names: BTreeSet<String> = shelf.mesh_namespaces(&self.mesh_name).chain(own).map(str::to_owned).collect();
        let names = Arc::new(names);
        self.needed.update(|needs| needs.set_mesh(names.clone()));
        self.namespaces.send_if_modified(|known| {
            let new = *known != Some(names.clone());
            *known = Some(names);
            new
        });
    }

    async fn succeed(&self, attempts: &mut Attempts) -> Result<(), Unheard> {
        attempts.failures = 0;
        attempts.settles = None;
        attempts.retry.reset();
        if std::mem::take(&mut attempts.reported) {
            self.report_trouble(None).await?;
        }
        Ok(())
    }

    async fn fail(&self, attempts: &mut Attempts, error: &watcher::Error) -> Result<(), Unheard> {
        let failure = classify(error);
        debug!("{}: {}", self.view.kind, describe(error));
        if failure == Failure::Expired {
            // The next thing that the watcher does is to list anew.
            return Ok(());
        }
        attempts.failures += 1;
        if failure == Failure::Forbidden || attempts.failures >= FAILURES_TO_REPORT {
            attempts.reported = true;
            self.report_trouble(Some((failure, describe(error)))).await?;
        }
        sleep(attempts.retry.next()).await;
        attempts.settles = Some(Instant::now() + SETTLED);
        Ok(())
    }

    /// The kind was said to be unknown: whether that is so, another look must tell.
    async fn wait_for_another_look(&mut self) -> Result<(), Unheard> {
        let looks = self.served.borrow().looks;
        self.ask.notify_one();
        self.served.wait_for(|served| served.looks > looks).await.map_err(|_| Unheard)?;
        Ok(())
    }

    async fn say(&self, events: Vec<Event>) -> Result<(), Unheard> {
        for event in events {
            self.events.send(event).await.map_err(|_| Unheard)?;
        }
        Ok(())
    }

    async fn report_trouble(&self, trouble: Option<(Failure, String)>) -> Result<(), Unheard> {
        self.report(Report::Trouble(self.view.kind.clone(), trouble)).await
    }

    async fn report(&self, report: Report) -> Result<(), Unheard> {
        self.reports.send(report).await.map_err(|_| Unheard)
    }
}

/// The next thing that a watch says; `None`: a list did not come in time.
async fn next(stream: &mut Stream, listing: bool) -> Option<watcher::Result<watcher::Event<Raw>>> {
    match listing {
        true => timeout(LIST_DEADLINE, stream.next()).await.ok().flatten(),
        // A kind of which nothing changes is silent for ever, and rightly so.
        false => stream.next().await,
    }
}

impl Attempts {
    fn new() -> Self {
        Self { retry: Retry::new(FIRST_PAUSE, LONGEST_PAUSE), failures: 0, reported: false, settles: None }
    }

    async fn settled(&self) {
        match self.settles {
            Some(settles) => tokio::time::sleep_until(settles).await,
            None => std::future::pending().await,
        }
    }
}
