//! One service from its publication to its end.

use std::sync::Arc;
use std::time::Duration;

use super::network::Changes;
use crate::config::ServiceConfig;
use crate::durable::ServiceEvent;
use crate::durable::service::{Acceptor, Incoming, ServiceShared, StopReport};
use crate::error::{DialError, ServiceError};
use crate::runtime::sync::{mpsc, oneshot, watch};
use crate::signaling::host::{Arrival, Host, HostContext, Notice};
use crate::signaling::{ErrorCode, ServiceUuid, SignalingError};

/// What is wrong with a configuration, before anybody is asked.
pub(super) fn check(config: &ServiceConfig) -> Result<(), ServiceError> {
    if !(0.0..1.0).contains(&config.refresh_margin) {
        return Err(ServiceError::BadConfig("refresh_margin must be at least 0 and less than 1"));
    }
    if config.ttl < Duration::from_secs(1) {
        return Err(ServiceError::BadConfig("ttl must be at least a second"));
    }
    if config.token.is_some() && config.public {
        return Err(ServiceError::BadConfig("a public service is listed for everybody and has no token"));
    }
    Ok(())
}

/// The first publication, or why it fails for good; `last` keeps the latest trouble on the way.
pub(super) async fn first_publication(
    notices: &mut mpsc::Receiver<Notice>,
    last: &mut Option<DialError>,
) -> Result<(ServiceUuid, u64), ServiceError> {
    while let Some(notice) = notices.recv().await {
        match notice {
            Notice::Published { uuid, expires_at } => return Ok((uuid, expires_at)),
            Notice::GaveUp(error) => return Err(error.into()),
            Notice::Error { error, .. } => *last = Some(error),
            Notice::Refreshed { .. } | Notice::TookOver => {}
        }
    }
    Err(ServiceError::Shutdown)
}

pub(super) fn into_service_error(error: DialError) -> ServiceError {
    match error {
        DialError::Signaling(error) => error.into(),
        DialError::Link(error) => error.into(),
        other => SignalingError::Unreachable(other.to_string()).into(),
    }
}

/// The task of one service: passes links from the host to the sessions, and news to the user.
pub(super) struct ServiceTask {
    pub(super) host: Host,
    pub(super) acceptor: Acceptor,
    pub(super) arrivals: mpsc::Receiver<Arrival>,
    pub(super) notices: mpsc::Receiver<Notice>,
    pub(super) shared: Arc<ServiceShared>,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) changes: Changes,
}

impl ServiceTask {
    pub(super) async fn run(mut self, mut stopped: oneshot::Receiver<StopReport>) {
        let mut stopping = self.stopping.clone();
        // Only who says `stop` means it for good: dropped or shut down, kept sessions go on later.
        let mut for_good = false;
        let report = loop {
            tokio::select! {
                biased;
                report = &mut stopped => {
                    for_good = report.is_ok();
                    break report.ok();
                }
                _ = stopping.wait_for(|stopping| *stopping) => break None,
                Some(notice) = self.notices.recv() => {
                    if self.handle_notice(notice) {
                        break None;
                    }
                }
                change = self.changes.next() => {
                    self.host.network_changed();
                    self.acceptor.handle_network_change(change);
                }
                () = self.acceptor.step() => {}
                // What others can bring about without end comes last.
                Some(arrival) = self.arrivals.recv() => {
                    let (link, peer) = (arrival.link, arrival.peer);
                    self.acceptor.handle_incoming(Incoming { link, peer });
                }
            }
        };
        let (withdrawn, ()) = futures_util::join!(self.host.stop(), self.acceptor.shutdown(for_good));
        self.shared.events.close(ServiceEvent::Closed);
        if let Some(report) = report {
            let _ = report.send(withdrawn.map_err(ServiceError::from));
        }
    }

    /// Returns whether the service is over.
    fn handle_notice(&mut self, notice: Notice) -> bool {
        let mut over = false;
        if let Notice::GaveUp(error) = &notice {
            let error = match error.code() {
                Some(ErrorCode::Displaced) => ServiceError::Displaced,
                _ => error.clone().into(),
            };
            *self.shared.ended.lock().expect("no panic while locked") = Some(error);
        }
        let event = match notice {
            Notice::Published { uuid, expires_at } => {
                self.expires(expires_at);
                ServiceEvent::Published { uuid, expires_at }
            }
            Notice::Refreshed { expires_at } => {
                self.expires(expires_at);
                ServiceEvent::TtlRefreshed { expires_at }
            }
            Notice::TookOver => {
                // After a crash this is how every restart looks.
                tracing::info!(
                    "the service was taken over from another running host with the same identity, or an earlier run"
                );
                ServiceEvent::TookOver
            }
            Notice::GaveUp(error) if error.code() == Some(ErrorCode::Displaced) => {
                tracing::error!("another host with the same identity took the service over; this one ends");
                over = true;
                ServiceEvent::Displaced
            }
            Notice::Error { context, error } => {
                // One peer that did not get through is everyday life; the rest concerns them all.
                if context == HostContext::Negotiation {
                    tracing::info!(%error, "a peer on its way got no link");
                } else {
                    tracing::warn!(context = context.as_str(), %error, "a service had trouble");
                }
                ServiceEvent::Error { context: context.as_str(), message: error.to_string() }
            }
            Notice::GaveUp(error) => {
                tracing::error!(%error, "a service cannot go on");
                over = true;
                ServiceEvent::Error { context: "publish", message: error.to_string() }
            }
        };
        self.shared.events.publish(event);
        over
    }

    fn expires(&self, at: u64) {
        self.shared.info.lock().expect("no panic while locked").expires_at = at;
    }
}
