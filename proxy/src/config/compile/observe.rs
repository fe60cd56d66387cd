//! What is to be told of single requests.

use super::Compiler;
use crate::telemetry::access_log::{AccessLog, Format, Sink, TEMPLATE, Template};
use crate::telemetry::export::post::Collector;
use crate::telemetry::export::remote_log::{self, RemoteLog};
use crate::telemetry::families::Buckets;
use crate::telemetry::observe::Observe;
use crate::telemetry::trace::context::Forms;
use crate::telemetry::trace::span::Rules;
use crate::telemetry::trace::{Protocol, Tracing, otlp, zipkin};
use http::HeaderValue;
use http::header::AUTHORIZATION;
use std::path::PathBuf;
use std::sync::Arc;

const PATH: &str = "Spec.Observability";

impl Compiler<'_> {
    /// Total like everything here: what cannot be used is reported and off.
    pub(super) fn observe(&mut self) -> Observe {
        let tracing = self.tracing();
        let remote_log = self.remote_log();
        let access_log = self.access_log();
        let every_request = remote_log.is_some() || access_log.as_ref().is_some_and(|log| !log.errors_only);
        let wanted = &self.document.spec.observability;
        let fraction = wanted.tracing.as_ref().and_then(|tracing| tracing.sampled_fraction);
        let level = wanted.remote_logging.as_ref().filter(|_| remote_log.is_some()).map_or(0, |logging| logging.level);
        let trace = match (&tracing, level) {
            (None, 0) => None,
            (tracing, level) => {
                let otlp = tracing.as_ref().is_some_and(|tracing| tracing.protocol == Protocol::Otlp);
                Some(Rules {
                    threshold: Rules::threshold(fraction),
                    shared: !otlp,
                    w3c_first: otlp,
                    forms: Forms { b3_multi: !otlp, b3_single: false, w3c: otlp },
                    names_all: every_request,
                    always_new: level >= 2,
                })
            }
        };
        let (buckets, pods) = self.metrics();
        Observe {
            trace,
            tracing: tracing.map(Arc::new),
            access_log: access_log.map(Arc::new),
            remote_log: remote_log.map(Arc::new),
            buckets,
            pods,
        }
    }

    fn tracing(&mut self) -> Option<Tracing> {
        let wanted = self.document.spec.observability.tracing.as_ref()?;
        let (protocol, usual) = match wanted.protocol.as_str() {
            "" | "zipkin" => (Protocol::Zipkin, zipkin::ENDPOINT),
            "otlp" => (Protocol::Otlp, otlp::ENDPOINT),
            other => {
                let message = format!("{other:?} is no protocol of traces: use `zipkin` or `otlp`; no traces are sent");
                self.error(format!("{PATH}.tracing.protocol"), message);
                return None;
            }
        };
        match Collector::new(&wanted.address, &wanted.endpoint, usual) {
            Ok(collector) => Some(Tracing { collector, protocol }),
            Err(error) => {
                self.error(format!("{PATH}.tracing"), format!("{error}; no traces are sent"));
                None
            }
        }
    }

    fn remote_log(&mut self) -> Option<RemoteLog> {
        let wanted = self.document.spec.observability.remote_logging.as_ref()?;
        let path = format!("{PATH}.remoteLogging");
        let collector = match Collector::new(&wanted.address, &wanted.endpoint, remote_log::ENDPOINT) {
            Ok(collector) => collector,
            Err(error) => {
                self.error(path, format!("{error}; no remote access log is sent"));
                return None;
            }
        };
        let headers = match HeaderValue::from_str(&wanted.authorization) {
            Ok(mut value) => {
                value.set_sensitive(true);
                // FSM sends it empty where there is none.
                vec![(AUTHORIZATION, value)]
            }
            Err(_) => {
                // Never with the value: it is a secret.
                let message = "is no header value; no remote access log is sent";
                self.error(format!("{path}.authorization"), message);
                return None;
            }
        };
        Some(RemoteLog { collector, headers, threshold: Rules::threshold(wanted.sampled_fraction) })
    }

    fn access_log(&mut self) -> Option<AccessLog> {
        let wanted = self.document.spec.observability.access_log.as_ref()?;
        let mut problem = |key: &str, message: String| {
            self.problems.push(fsm_api::config::Problem::error(format!("{PATH}.accessLog.{key}"), message));
        };
        let sink = match wanted.path.as_str() {
            "" | "stdout" => Sink::Stdout,
            "stderr" => Sink::Stderr,
            path if path.starts_with('/') => Sink::File(PathBuf::from(path)),
            other => {
                let message =
                    format!("{other:?} is neither `stdout` nor `stderr` nor an absolute path; nothing is logged");
                problem("path", message);
                return None;
            }
        };
        let template = if wanted.template.is_empty() { TEMPLATE } else { &wanted.template };
        let format = match wanted.format.as_str() {
            "" | "json" => Format::Json,
            "text" => match Template::parse(template) {
                Ok(template) => Format::Text(template),
                Err(error) => {
                    problem("template", format!("{error}; requests are logged as JSON"));
                    Format::Json
                }
            },
            other => {
                problem("format", format!("{other:?} is neither `json` nor `text`; requests are logged as JSON"));
                Format::Json
            }
        };
        let threshold = Rules::threshold(wanted.sampled_fraction);
        Some(AccessLog { sink, format, errors_only: wanted.errors_only, threshold })
    }

    fn metrics(&mut self) -> (Buckets, bool) {
        let Some(wanted) = &self.document.spec.observability.metrics else { return Default::default() };
        let buckets = Buckets::named(&wanted.buckets).unwrap_or_else(|| {
            let message = format!("{:?} is none of `fsm`, `fine`, `coarse`; `fsm` is used", wanted.buckets);
            self.error(format!("{PATH}.metrics.buckets"), message);
            Buckets::default()
        });
        (buckets, wanted.pod_labels)
    }
}

#[cfg(test)]
mod tests;
