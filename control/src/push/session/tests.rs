#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::tests::{config, message, publish};
use super::{Answered, MessageKind, Session};
use crate::push::Publication;
use fsm_api::config::Config;
use fsm_api::stream::{Ack, ControlMessage, Nack};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Instant;

fn ack(publication: &Publication) -> Ack {
    Ack { version: publication.version().to_string(), problems: Vec::new() }
}

fn nack(publication: &Publication, wants_whole: bool) -> Nack {
    Nack { version: publication.version().to_string(), reason: "because".into(), wants_whole }
}

fn next(session: &mut Session, newest: &Publication) -> Option<MessageKind> {
    session.next(newest, Instant::now()).map(|message| message.kind)
}

/// Three versions; the second differs from the first in what a delta can say, the third in more.
fn versions() -> [Arc<Publication>; 3] {
    let first = publish(config(&[("a|80", &["10.0.0.1:80"])]), None);
    let second = publish(config(&[("a|80", &["10.0.0.2:80"])]), Some(&first));
    let third = publish(Config { metrics: true, ..config(&[("a|80", &["10.0.0.2:80"])]) }, Some(&second));
    [first, second, third]
}

#[test]
fn a_new_proxy_gets_the_whole_document_once() {
    let [first, ..] = versions();
    let mut session = Session::new(None, true);
    assert_eq!(next(&mut session, &first), Some(MessageKind::Update));
    assert_eq!(next(&mut session, &first), None);
    assert!(session.waiting_since().is_some());
    let answered = session.acknowledged(&ack(&first));
    assert_eq!(answered, Answered::InForce { version: first.version().clone(), caused: first.caused() });
    assert_eq!(session.waiting_since(), None);
    assert_eq!(next(&mut session, &first), None);
}

#[test]
fn a_proxy_that_has_the_newest_is_told_so_and_nothing_else() {
    let [first, ..] = versions();
    let mut session = Session::new(Some(first.version().to_string()), true);
    let sent = session.next(&first, Instant::now()).unwrap();
    let ControlMessage::Current(current) = message(&sent.frame) else { panic!("{sent:?}") };
    assert_eq!(current.version, **first.version());
    assert_eq!(next(&mut session, &first), None);
    assert_eq!(session.waiting_since(), None);
}

#[test]
fn a_proxy_that_comes_back_gets_what_changed_since() {
    let [first, second, third] = versions();
    let back = |newest: &Publication| next(&mut Session::new(Some(first.version().to_string()), true), newest);
    assert_eq!(back(&second), Some(MessageKind::Delta));
    assert_eq!(back(&third), Some(MessageKind::Update));
    assert_eq!(next(&mut Session::new(Some("12345".into()), true), &second), Some(MessageKind::Update));
    assert_eq!(next(&mut Session::new(Some(String::new()), true), &second), Some(MessageKind::Update));
}

#[test]
fn what_happens_while_an_answer_is_missing_is_sent_as_one() {
    let [first, second, third] = versions();
    let mut session = Session::new(None, true);
    next(&mut session, &first);
    assert_eq!(next(&mut session, &second), None);
    assert_eq!(next(&mut session, &third), None);
    session.acknowledged(&ack(&first));
    assert_eq!(next(&mut session, &third), Some(MessageKind::Update));
}

#[test]
fn a_refused_version_is_not_sent_again_and_the_next_one_builds_upon_the_one_in_force() {
    let [first, second, third] = versions();
    let mut session = Session::new(None, true);
    next(&mut session, &first);
    session.acknowledged(&ack(&first));
    next(&mut session, &third);
    assert_eq!(session.refused(&nack(&third, false)), Answered::Refused);
    assert_eq!(next(&mut session, &third), None);
    assert_eq!(next(&mut session, &second), Some(MessageKind::Delta), "the first one is still in force");
    session.acknowledged(&ack(&second));
    assert_eq!(next(&mut session, &third), Some(MessageKind::Update), "another state of the proxy, another try");
}

#[test]
fn a_proxy_that_lacks_the_base_gets_the_whole_document() {
    let [first, second, _] = versions();
    let mut session = Session::new(Some(first.version().to_string()), true);
    assert_eq!(next(&mut session, &second), Some(MessageKind::Delta));
    assert_eq!(session.refused(&nack(&second, true)), Answered::LacksBase);
    assert_eq!(next(&mut session, &second), Some(MessageKind::Update));
    // Whoever asks for more than everything is not asked again and again.
    assert_eq!(session.refused(&nack(&second, true)), Answered::Refused);
    assert_eq!(next(&mut session, &second), None);
}

#[test]
fn a_proxy_that_takes_no_deltas_gets_whole_documents() {
    let [first, second, _] = versions();
    let mut session = Session::new(Some(first.version().to_string()), false);
    assert_eq!(next(&mut session, &second), Some(MessageKind::Update));
}

#[test]
fn a_proxy_that_cannot_use_deltas_is_not_bothered_with_them_for_ever() {
    let [first, second, _] = versions();
    let mut session = Session::new(Some(first.version().to_string()), true);
    let mut kinds = Vec::new();
    let mut newest = second;
    for round in 0..4 {
        kinds.push(next(&mut session, &newest));
        if session.refused(&nack(&newest, true)) == Answered::LacksBase {
            assert_eq!(next(&mut session, &newest), Some(MessageKind::Update));
        }
        session.acknowledged(&ack(&newest));
        newest = publish(config(&[("a|80", &[&*format!("10.0.1.{round}:80")])]), Some(&newest));
    }
    let [delta, update] = [Some(MessageKind::Delta), Some(MessageKind::Update)];
    assert_eq!(kinds, [delta, delta, update, update]);
}

#[test]
fn answers_about_other_versions_mean_nothing() {
    let [first, second, _] = versions();
    let mut session = Session::new(None, true);
    assert_eq!(session.acknowledged(&ack(&first)), Answered::Stray);
    next(&mut session, &first);
    assert_eq!(session.acknowledged(&ack(&second)), Answered::Stray);
    assert_eq!(session.refused(&nack(&second, true)), Answered::Stray);
    assert!(session.waiting_since().is_some());
}

proptest! {
    /// Whatever is published and however a well-behaved proxy answers: each update builds upon what it has, at most one is
    /// on its way, and once all is quiet it has the newest version, or has refused it.
    #[test]
    fn the_proxy_ends_with_the_newest(steps in proptest::collection::vec((0_usize..6, 0_u8..8), 1..80)) {
        let shapes: [&[(&str, &[&str])]; 6] = [
            &[("a", &["1:1"])], &[("a", &["2:1"])], &[("a", &["1:1", "2:1"])],
            &[("a", &["1:1"]), ("b", &[])], &[("a", &["1:1"]), ("b", &["3:1"])], &[],
        ];
        let mut newest = publish(config(shapes[0]), None);
        let mut session = Session::new(None, true);
        let mut has: Option<String> = None;
        let mut refused: Option<String> = None;
        let mut pending = None;
        let mut turn = |session: &mut Session, newest: &Publication, mood: u8| {
            if let Some(sent) = session.next(newest, Instant::now()) {
                prop_assert!(pending.is_none());
                pending = Some(message(&sent.frame));
            }
            // Sometimes the proxy takes its time.
            if mood == 0 { return Ok(()); }
            let (version, base) = match pending.take() {
                Some(ControlMessage::Update(update)) => (update.version, None),
                Some(ControlMessage::Delta(delta)) => (delta.version, Some(delta.base)),
                Some(ControlMessage::Current(current)) => {
                    prop_assert_eq!(Some(&current.version), has.as_ref());
                    return Ok(());
                }
                Some(other) => panic!("{other:?}"),
                None => return Ok(()),
            };
            prop_assert!(base.is_none() || base == has, "builds upon what the proxy has");
            match mood {
                1 => { session.refused(&Nack { version: version.clone(), reason: String::new(), wants_whole: false }); refused = Some(version); }
                2 => { session.refused(&Nack { version: version.clone(), reason: String::new(), wants_whole: true }); if base.is_none() { refused = Some(version); } }
                _ => { session.acknowledged(&Ack { version: version.clone(), problems: Vec::new() }); has = Some(version); }
            }
            Ok(())
        };
        for (shape, mood) in steps {
            if let Some(next) = Publication::make(config(shapes[shape]), Some(&newest), Instant::now(), std::time::SystemTime::now()).unwrap() {
                newest = Arc::new(next);
            }
            turn(&mut session, &newest, mood)?;
        }
        for _ in 0..4 {
            turn(&mut session, &newest, 7)?;
        }
        let wanted = Some(newest.version().to_string());
        prop_assert!(has == wanted || refused == wanted);
    }
}
