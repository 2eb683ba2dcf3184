//! Requests and responses as HTTP carries them: method, path and body, and back. Pure, and the
//! only such mapping, so that every carrier signs and checks the same bytes.

pub(crate) mod read;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::json::{self, Writer};
use super::*;

/// A request in the form that is signed and sent.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct HttpForm {
    /// GET, PUT, POST or DELETE.
    pub(crate) method: String,
    /// Path and query, as they stand in the request line.
    pub(crate) path: String,
    /// The body; empty if there is none.
    pub(crate) body: Vec<u8>,
}

impl HttpForm {
    fn post(path: String, body: Writer) -> Self {
        Self { method: "POST".to_owned(), path, body: body.end().into_bytes() }
    }
}

/// A request as it is carried, and how its answer is read.
///
/// [`host::asked`] makes it of any request. Who only connects asks by [`take`], [`answer`],
/// [`candidates`] and [`events`]: a page loads how the rest is written and read when it hosts.
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) form: HttpForm,
    pub(crate) read: Reader,
}

/// Reads the answer to a request.
pub(crate) type Reader = fn(&Request, &[u8]) -> Result<Response, read::Bad>;

/// Durations as whole milliseconds.
pub(crate) mod millis {
    use super::{Deserialize, Duration, Serialize};

    pub(crate) fn serialize<S: serde::Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        super::whole_millis(*value).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetBody {
    target: ServiceTarget,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TakeBody {
    target: ServiceTarget,
    #[serde(rename = "wait_ms", with = "millis")]
    wait: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OffersBody {
    #[serde(default)]
    instance: Option<InstanceId>,
    offers: Vec<NewOffer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfferIdsBody {
    offers: Vec<OfferId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerBody {
    sdp: String,
    signature: Signature,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CandidatesBody {
    candidates: Vec<String>,
}

#[cfg(any(feature = "server", test))]
#[derive(Serialize)]
struct OwnerReply {
    claim: Option<Claim>,
}

#[cfg(any(feature = "server", test))]
#[derive(Serialize)]
struct ServicesReply {
    services: Vec<ServiceRecord>,
}

/// The form of `request`.
pub(crate) fn encode(request: &Request) -> HttpForm {
    let none = Vec::new;
    let (method, path, body) = match request {
        Request::Take { target, wait } => return take_form(target, *wait),
        Request::Answer(answer) => return answer_form(answer),
        Request::Candidates { offer, candidates } => return candidates_form(offer, candidates),
        Request::Events { cursor } => return events_form(cursor.as_ref()),
        Request::Claim { username } => ("PUT", format!("/v1/usernames/{username}"), none()),
        Request::Owner { username } => ("GET", format!("/v1/usernames/{username}"), none()),
        Request::List { username } => ("GET", format!("/v1/usernames/{username}/services"), none()),
        Request::Publish(publish) => {
            ("PUT", format!("/v1/services/{}", publish.uuid), self::publish(publish).into_bytes())
        }
        Request::Withdraw { uuid } => ("DELETE", format!("/v1/services/{uuid}"), none()),
        Request::Resolve { target: ServiceTarget::Uuid { uuid } } => {
            ("GET", format!("/v1/services/{uuid}"), none())
        }
        Request::Resolve { target } => (
            "POST",
            "/v1/resolve".to_owned(),
            Writer::new().json("target", &self::target(target)).end().into_bytes(),
        ),
        Request::AddOffers { uuid, instance, offers } => {
            let body = with_instance(Writer::new(), instance).list("offers", &self::offers(offers));
            ("POST", format!("/v1/services/{uuid}/offers"), body.end().into_bytes())
        }
        Request::WithdrawOffers { uuid, offers } => {
            let offers: Vec<_> = offers.iter().map(|id| json::quoted(&id.to_string())).collect();
            let body = Writer::new().list("offers", &offers);
            ("POST", format!("/v1/services/{uuid}/offers/withdraw"), body.end().into_bytes())
        }
    };
    HttpForm { method: method.to_owned(), path, body }
}

/// [`Request::Take`].
pub(crate) fn take(target: ServiceTarget, wait: Duration) -> Asked {
    let form = take_form(&target, wait);
    Asked { request: Request::Take { target, wait }, form, read: read::taken }
}

fn take_form(target: &ServiceTarget, wait: Duration) -> HttpForm {
    let body = Writer::new().json("target", &self::target(target)).plain("wait_ms", &whole_millis(wait));
    HttpForm::post("/v1/take".to_owned(), body)
}

/// [`Request::Answer`].
pub(crate) fn answer(answer: Answer) -> Asked {
    let form = answer_form(&answer);
    Asked { request: Request::Answer(answer), form, read: read::done }
}

fn answer_form(Answer { offer, sdp, signature }: &Answer) -> HttpForm {
    let body = Writer::new().text("sdp", sdp).shown("signature", signature);
    HttpForm::post(format!("/v1/offers/{offer}/answer"), body)
}

/// [`Request::Candidates`].
pub(crate) fn candidates(offer: OfferId, candidates: Vec<String>) -> Asked {
    let form = candidates_form(&offer, &candidates);
    Asked { request: Request::Candidates { offer, candidates }, form, read: read::done }
}

fn candidates_form(offer: &OfferId, candidates: &[String]) -> HttpForm {
    let candidates: Vec<_> = candidates.iter().map(|candidate| json::quoted(candidate)).collect();
    HttpForm::post(format!("/v1/offers/{offer}/candidates"), Writer::new().list("candidates", &candidates))
}

/// [`Request::Events`].
pub(crate) fn events(cursor: Option<Cursor>) -> Asked {
    let form = events_form(cursor.as_ref());
    Asked { request: Request::Events { cursor }, form, read: read::done }
}

fn events_form(cursor: Option<&Cursor>) -> HttpForm {
    let query = cursor.map(|cursor| format!("?{}", cursor_query(cursor))).unwrap_or_default();
    HttpForm { method: "GET".to_owned(), path: format!("/v1/events{query}"), body: Vec::new() }
}

/// A target as JSON.
pub(crate) fn target(target: &ServiceTarget) -> String {
    match target {
        ServiceTarget::Uuid { uuid } => Writer::new().shown("uuid", uuid),
        ServiceTarget::Name { username, service, token } => {
            let named = Writer::new().shown("username", username).shown("service", service);
            token.iter().fold(named, |named, token| named.text("token", token))
        }
    }
    .end()
}

fn publish(publish: &Publish) -> String {
    let Publish { username, service, uuid, salt, instance, public, token_hash, metadata, ttl, offers } =
        publish;
    let body = Writer::new().shown("username", username).shown("service", service).shown("uuid", uuid);
    let body = with_instance(body.text("salt", salt), instance).plain("public", public);
    let body = token_hash.iter().fold(body, |body, hash| body.text("token_hash", hash));
    let body = body.json("metadata", metadata.as_str()).plain("ttl_ms", &whole_millis(*ttl));
    body.list("offers", &self::offers(offers)).end()
}

fn with_instance(body: Writer, instance: &Option<InstanceId>) -> Writer {
    instance.iter().fold(body, |body, instance| body.shown("instance", instance))
}

fn offers(offers: &[NewOffer]) -> Vec<String> {
    let offer = |NewOffer { id, sdp, signature }: &NewOffer| {
        Writer::new().shown("id", id).text("sdp", sdp).shown("signature", signature).end()
    };
    offers.iter().map(offer).collect()
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The request in `form`; the inverse of [`encode`].
pub(crate) fn decode(form: &HttpForm) -> Result<Request, SignalingError> {
    let (path, query) = match form.path.split_once('?') {
        Some((path, query)) => (path, query),
        None => (form.path.as_str(), ""),
    };
    let Some(rest) = path.strip_prefix("/v1/") else { return Err(no_route(path)) };
    let segments: Vec<&str> = rest.split('/').collect();
    let wrong_method = |allowed: &str| {
        let message = format!("{} {path} does not exist; there is {allowed}", form.method);
        Err(SignalingError::refused(ErrorCode::BadMethod, message))
    };
    let request = match (segments.as_slice(), form.method.as_str()) {
        (["usernames", name], "PUT") => Request::Claim { username: name_in_path(name)? },
        (["usernames", name], "GET") => Request::Owner { username: name_in_path(name)? },
        (["usernames", _], _) => return wrong_method("GET, PUT"),
        (["usernames", name, "services"], "GET") => Request::List { username: name_in_path(name)? },
        (["usernames", _, "services"], _) => return wrong_method("GET"),
        (["services", uuid], "PUT") => {
            let uuid: ServiceUuid = name_in_path(uuid)?;
            let publish: Publish = from_json(&form.body)?;
            if publish.uuid != uuid {
                return Err(malformed("the uuid in the path is not the one in the body"));
            }
            return Ok(Request::Publish(publish));
        }
        (["services", uuid], "DELETE") => Request::Withdraw { uuid: name_in_path(uuid)? },
        (["services", uuid], "GET") => {
            Request::Resolve { target: ServiceTarget::Uuid { uuid: name_in_path(uuid)? } }
        }
        (["services", _], _) => return wrong_method("GET, PUT, DELETE"),
        (["services", uuid, "offers"], "POST") => {
            let uuid = name_in_path(uuid)?;
            let OffersBody { instance, offers } = from_json(&form.body)?;
            return Ok(Request::AddOffers { uuid, instance, offers });
        }
        (["services", _, "offers"], _) => return wrong_method("POST"),
        (["services", uuid, "offers", "withdraw"], "POST") => {
            let uuid = name_in_path(uuid)?;
            let OfferIdsBody { offers } = from_json(&form.body)?;
            return Ok(Request::WithdrawOffers { uuid, offers });
        }
        (["services", _, "offers", "withdraw"], _) => return wrong_method("POST"),
        (["resolve"], "POST") => {
            let TargetBody { target } = from_json(&form.body)?;
            return Ok(Request::Resolve { target });
        }
        (["resolve"], _) => return wrong_method("POST"),
        (["take"], "POST") => {
            let TakeBody { target, wait } = from_json(&form.body)?;
            return Ok(Request::Take { target, wait });
        }
        (["take"], _) => return wrong_method("POST"),
        (["offers", id, "answer"], "POST") => {
            let offer = name_in_path(id)?;
            let AnswerBody { sdp, signature } = from_json(&form.body)?;
            return Ok(Request::Answer(Answer { offer, sdp, signature }));
        }
        (["offers", _, "answer"], _) => return wrong_method("POST"),
        (["offers", id, "candidates"], "POST") => {
            let offer = name_in_path(id)?;
            let CandidatesBody { candidates } = from_json(&form.body)?;
            return Ok(Request::Candidates { offer, candidates });
        }
        (["offers", _, "candidates"], _) => return wrong_method("POST"),
        (["events"], "GET") => Request::Events { cursor: cursor_in(query)? },
        (["events"], _) => return wrong_method("GET"),
        _ => return Err(no_route(path)),
    };
    if form.body.is_empty() { Ok(request) } else { Err(malformed("this request has no body")) }
}

/// Whether a request may come without a signature: it reads what anyone may read.
pub(crate) fn may_be_unsigned(request: &Request) -> bool {
    matches!(request, Request::Owner { .. } | Request::List { .. } | Request::Resolve { .. })
}

/// The JSON of a response.
#[cfg(any(feature = "server", test))]
pub(crate) fn encode_response(response: &Response) -> Vec<u8> {
    match response {
        Response::Done => b"{}".to_vec(),
        Response::Claimed(claim) => to_json(claim),
        Response::Owner(claim) => to_json(&OwnerReply { claim: claim.clone() }),
        Response::Services(services) => to_json(&ServicesReply { services: services.clone() }),
        Response::Published(lease) => to_json(lease),
        Response::Service(record) => to_json(record),
        Response::Taken(taken) => to_json(taken),
    }
}

#[cfg(any(feature = "server", test))]
fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Only maps with keys that are no strings, or writers that fail, make serde_json fail.
    serde_json::to_vec(value).expect("protocol types are JSON")
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, SignalingError> {
    serde_json::from_slice(body)
        .map_err(|error| malformed(format!("the body is not what it should be: {error}")))
}

fn name_in_path<T: std::str::FromStr<Err = NameError>>(text: &str) -> Result<T, SignalingError> {
    text.parse().map_err(|error: NameError| SignalingError::refused(ErrorCode::BadName, error.to_string()))
}

fn malformed(message: impl Into<String>) -> SignalingError {
    SignalingError::refused(ErrorCode::Malformed, message)
}

fn no_route(path: &str) -> SignalingError {
    let shown: String = path.chars().take(80).collect();
    SignalingError::refused(ErrorCode::NoRoute, format!("no route {shown}"))
}

/// A cursor as a query.
pub(crate) fn cursor_query(cursor: &Cursor) -> String {
    format!("cursor={}", percent_encoded(&cursor.0))
}

/// The cursor in a query.
pub(crate) fn cursor_in(query: &str) -> Result<Option<Cursor>, SignalingError> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("cursor="));
    let Some(value) = value else { return Ok(None) };
    let decoded =
        percent_decoded(value).ok_or_else(|| malformed("the cursor is not percent-encoded UTF-8"))?;
    Ok(Some(Cursor(decoded)))
}

/// As in the query of an address.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Text that [`percent_encoded`] wrote, or another; `None` if it is no such, or no UTF-8.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = (bytes.next()? as char).to_digit(16)?;
            let low = (bytes.next()? as char).to_digit(16)?;
            out.push((high * 16 + low) as u8);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::identity::Identity;

    /// One of each request.
    pub(crate) fn all_requests() -> Vec<Request> {
        let identity = Identity::from_secret([7; 32]);
        let username = Username::new("alice").unwrap();
        let service = ServiceFqn::new("com.example.chat", "1.2.3").unwrap();
        let uuid = ServiceUuid::derive(&identity.public_key(), &username, &service, &[1; 16]);
        let offer = OfferId::from_bytes([2; 16]);
        let instance = InstanceId::from_bytes([3; 16]);
        let signature = auth::sign_offer(&identity, &uuid, &offer, "v=0\r\n");
        let offers = vec![NewOffer { id: offer, sdp: "v=0\r\n".into(), signature }];
        let by_name = ServiceTarget::Name {
            username: username.clone(),
            service: "com.example.chat@^1".parse().unwrap(),
            token: Some("sésame".into()),
        };
        let by_uuid = ServiceTarget::Uuid { uuid };
        let mut metadata = Metadata::new();
        metadata.insert("title".into(), "Chat".into());
        vec![
            Request::Claim { username: username.clone() },
            Request::Owner { username: username.clone() },
            Request::List { username: username.clone() },
            Request::Publish(Publish {
                username,
                service,
                uuid,
                salt: "AQEBAQEBAQEBAQEBAQEBAQ".into(),
                instance: Some(instance),
                public: true,
                token_hash: None,
                metadata: metadata.into(),
                ttl: Duration::from_secs(300),
                offers: offers.clone(),
            }),
            Request::Withdraw { uuid },
            Request::Resolve { target: by_uuid.clone() },
            Request::Resolve { target: by_name.clone() },
            Request::AddOffers { uuid, instance: Some(instance), offers },
            Request::WithdrawOffers { uuid, offers: vec![offer] },
            Request::Take { target: by_uuid, wait: Duration::from_secs(5) },
            Request::Take { target: by_name, wait: Duration::ZERO },
            Request::Answer(Answer { offer, sdp: "v=0\r\n".into(), signature }),
            Request::Candidates { offer, candidates: vec!["candidate:1".into()] },
            Request::Events { cursor: None },
            Request::Events { cursor: Some(Cursor("a b/%é".into())) },
        ]
    }

    #[test]
    fn every_response_survives_its_json() {
        let all = all_requests();
        let [claim, owner, list, publish, withdraw, resolve, .., take, _, _, _, _, _] = all.as_slice() else {
            panic!()
        };
        let Request::Publish(published) = publish.clone() else { panic!() };
        let owner_key = Identity::from_secret([7; 32]).public_key();
        let record = ServiceRecord {
            uuid: published.uuid,
            owner: owner_key,
            username: published.username.clone(),
            service: published.service,
            salt: published.salt,
            public: true,
            metadata: published.metadata,
            expires_at: 5,
        };
        let claimed = Claim { username: published.username, owner: owner_key, claimed_at: 1, expires_at: 2 };
        let NewOffer { id, sdp, signature } = published.offers[0].clone();
        let lease = Lease {
            uuid: record.uuid,
            ttl: Duration::from_secs(3),
            expires_at: 4,
            offers: 1,
            wanted: 2,
            took_over: true,
        };
        for (request, response) in [
            (claim, Response::Claimed(claimed.clone())),
            (owner, Response::Owner(None)),
            (owner, Response::Owner(Some(claimed))),
            (list, Response::Services(vec![record.clone()])),
            (publish, Response::Published(lease)),
            (withdraw, Response::Done),
            (resolve, Response::Service(record.clone())),
            (take, Response::Taken(TakenOffer { service: record, id, sdp, signature })),
        ] {
            assert_eq!(read::response(request, &encode_response(&response)).unwrap(), response);
            assert!(read::response(request, b"[1]").is_err());
        }
    }

    #[test]
    fn every_request_survives_its_http_form() {
        for request in all_requests() {
            let form = encode(&request);
            assert_eq!(decode(&form).unwrap(), request, "{} {}", form.method, form.path);
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    proptest::proptest! {
        #[test]
        fn whatever_comes_is_a_request_or_an_error(
            method in "GET|PUT|POST|DELETE|.{0,4}",
            at in 0..15usize,
            cut in 0..400usize,
            put in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..8),
            header in ".{0,40}",
        ) {
            let HttpForm { mut path, mut body, .. } = encode(&all_requests()[at]);
            let to = cut.min(body.len());
            body.splice(to.saturating_sub(put.len())..to, put.iter().copied());
            if let Some((at, _)) = path.char_indices().nth(cut) {
                path.replace_range(at..=at, &String::from_utf8_lossy(&put));
            }
            let form = HttpForm { method, path, body };
            if let Ok(request) = decode(&form) {
                proptest::prop_assert_eq!(decode(&encode(&request)).unwrap(), request);
            }
            let _ = SignedRequest::from_http(&form.method, &form.path, &form.body, &header);
        }
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_own_code() {
        let uuid = "00000000-0000-8000-8000-000000000000";
        let cases = [
            ("GET", "/", "", ErrorCode::NoRoute),
            ("GET", "/v1/", "", ErrorCode::NoRoute),
            ("GET", "/v2/events", "", ErrorCode::NoRoute),
            ("GET", "/v1/usernames/alice/services/x", "", ErrorCode::NoRoute),
            ("PATCH", "/v1/usernames/alice", "", ErrorCode::BadMethod),
            ("POST", "/v1/events", "", ErrorCode::BadMethod),
            ("GET", "/v1/usernames/A", "", ErrorCode::BadName),
            ("DELETE", "/v1/services/nonsense", "", ErrorCode::BadName),
            ("POST", "/v1/take", "", ErrorCode::Malformed),
            ("POST", "/v1/take", "{", ErrorCode::Malformed),
            ("POST", "/v1/take", "[]", ErrorCode::Malformed),
            ("POST", "/v1/take", r#"{"target":{"uuid":"x"},"wait_ms":1}"#, ErrorCode::Malformed),
            ("PUT", "/v1/usernames/alice", "{}", ErrorCode::Malformed),
            ("GET", "/v1/events?cursor=%zz", "", ErrorCode::Malformed),
            ("PUT", &format!("/v1/services/{uuid}"), r#"{"uuid":3}"#, ErrorCode::Malformed),
        ];
        for (method, path, body, code) in cases {
            let form = HttpForm { method: method.into(), path: path.into(), body: body.into() };
            assert_eq!(decode(&form).unwrap_err().code(), Some(code), "{method} {path} {body}");
        }
    }
}
