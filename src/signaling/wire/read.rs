//! Reads what a server says. By hand: code that is derived for each type is most of a page's module.

use std::str::FromStr;

use crate::signaling::json::Json;
use crate::signaling::*;

/// What an answer lacks, or has in another form than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is missing, or not what it should be")]
pub(crate) struct Bad(&'static str);

type Read<T> = Result<T, Bad>;

/// The response in `body`, which answers `request`.
pub(crate) fn response(request: &Request, body: &[u8]) -> Read<Response> {
    Ok(match request {
        Request::Claim { .. } => Response::Claimed(claim(&object(body)?)?),
        Request::Owner { .. } => Response::Owner(object(body)?.get("claim").as_ref().map(claim).transpose()?),
        Request::List { .. } => {
            let services = list(&object(body)?, "services")?;
            Response::Services(services.iter().map(record).collect::<Read<_>>()?)
        }
        Request::Publish(_) => Response::Published(lease(&object(body)?)?),
        Request::Resolve { .. } => Response::Service(record(&object(body)?)?),
        Request::Take { .. } => return taken(request, body),
        Request::Withdraw { .. }
        | Request::AddOffers { .. }
        | Request::WithdrawOffers { .. }
        | Request::Answer(_)
        | Request::Candidates { .. }
        | Request::Events { .. } => return done(request, body),
    })
}

/// The response to a request that is only done or refused.
pub(crate) fn done(_: &Request, body: &[u8]) -> Read<Response> {
    object(body).map(|_| Response::Done)
}

/// The response to [`Request::Take`].
pub(crate) fn taken(_: &Request, body: &[u8]) -> Read<Response> {
    let body = &object(body)?;
    Ok(Response::Taken(TakenOffer {
        service: record(&member(body, "service")?)?,
        id: parsed(body, "id")?,
        sdp: text(body, "sdp")?,
        signature: parsed(body, "signature")?,
    }))
}

fn object(body: &[u8]) -> Read<Json> {
    Json::parse(body).filter(Json::is_object).ok_or(Bad("object"))
}

/// An event.
#[cfg(any(feature = "http", test))]
pub(crate) fn event(body: &Json) -> Read<Event> {
    Ok(match &*text(body, "type")? {
        "answered" => Event::Answered {
            uuid: parsed(body, "uuid")?,
            offer: parsed(body, "offer")?,
            peer: parsed(body, "peer")?,
            sdp: text(body, "sdp")?,
            signature: parsed(body, "signature")?,
        },
        "candidates" => {
            let candidates = list(body, "candidates")?.iter().map(Json::as_text).collect::<Option<_>>();
            let candidates = candidates.ok_or(Bad("candidates"))?;
            Event::Candidates { offer: parsed(body, "offer")?, candidates }
        }
        "offer_wanted" => Event::OfferWanted {
            uuid: parsed(body, "uuid")?,
            offers: count(body, "offers")?,
            wanted: count(body, "wanted")?,
        },
        "lease_lost" => Event::LeaseLost { uuid: parsed(body, "uuid")? },
        "opened" => Event::Opened,
        "missed" => Event::Missed,
        _ => return Err(Bad("type")),
    })
}

fn claim(body: &Json) -> Read<Claim> {
    Ok(Claim {
        username: parsed(body, "username")?,
        owner: parsed(body, "owner")?,
        claimed_at: number(body, "claimed_at")?,
        expires_at: number(body, "expires_at")?,
    })
}

fn lease(body: &Json) -> Read<Lease> {
    Ok(Lease {
        uuid: parsed(body, "uuid")?,
        ttl: Duration::from_millis(number(body, "ttl_ms")?),
        expires_at: number(body, "expires_at")?,
        offers: count(body, "offers")?,
        wanted: count(body, "wanted")?,
        took_over: match body.get("took_over") {
            None => false,
            Some(took_over) => took_over.as_bool().ok_or(Bad("took_over"))?,
        },
    })
}

fn record(body: &Json) -> Read<ServiceRecord> {
    Ok(ServiceRecord {
        uuid: parsed(body, "uuid")?,
        owner: parsed(body, "owner")?,
        username: parsed(body, "username")?,
        service: parsed(body, "service")?,
        salt: text(body, "salt")?,
        public: member(body, "public")?.as_bool().ok_or(Bad("public"))?,
        metadata: member(body, "metadata")?.as_metadata().ok_or(Bad("metadata"))?,
        expires_at: number(body, "expires_at")?,
    })
}

pub(crate) fn member(of: &Json, name: &'static str) -> Read<Json> {
    of.get(name).ok_or(Bad(name))
}

pub(crate) fn text(of: &Json, name: &'static str) -> Read<String> {
    member(of, name)?.as_text().ok_or(Bad(name))
}

pub(crate) fn list(of: &Json, name: &'static str) -> Read<Vec<Json>> {
    member(of, name)?.as_list().ok_or(Bad(name))
}

pub(crate) fn number(of: &Json, name: &'static str) -> Read<u64> {
    member(of, name)?.as_number().ok_or(Bad(name))
}

fn count(of: &Json, name: &'static str) -> Read<usize> {
    usize::try_from(number(of, name)?).map_err(|_| Bad(name))
}

fn parsed<T: FromStr>(of: &Json, name: &'static str) -> Read<T> {
    text(of, name)?.parse().map_err(|_| Bad(name))
}
