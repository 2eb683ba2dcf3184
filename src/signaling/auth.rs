//! Who says what: signatures over requests and session descriptions. Pure.
//!
//! A request is signed over its whole meaning: method, path with query, hash of the body, a nonce
//! and the time. A description is signed for the *other peer*, who checks it against a key it has
//! from elsewhere (the service uuid commits to it), so that the server in between can neither
//! read nor impersonate.

use sha2::{Digest as _, Sha256};

#[cfg(feature = "http")]
use super::Response;
#[cfg(feature = "http")]
use super::wire::read::Bad;
use super::wire::{self, Asked, HttpForm, Reader};
use super::{ErrorCode, OfferId, Request, ServiceUuid, SignalingError, host};
use crate::identity::{Domain, Identity, PublicKey, Signature};

/// How far the time in a request may be from the server's, in milliseconds.
pub(crate) const TOLERANCE_MS: u64 = 300_000;

/// A request with its author's signature, ready to be carried by any [`Signaling`](super::Signaling).
#[derive(Clone)]
pub struct SignedRequest {
    request: Request,
    form: HttpForm,
    #[cfg_attr(not(feature = "http"), allow(dead_code))]
    read: Reader,
    stamp: Stamp,
    signature: Signature,
}

/// What makes each request of a key unlike any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) key: PublicKey,
    pub(crate) time: u64,
    pub(crate) nonce: [u8; 16],
}

impl SignedRequest {
    /// Signs `request`. `now` is the wall clock in milliseconds since 1970, and may be five minutes
    /// off the server's; `nonce` must be new for each request.
    pub fn sign(identity: &Identity, request: Request, now: u64, nonce: [u8; 16]) -> Self {
        Self::sign_asked(identity, host::asked(request), now, nonce)
    }

    pub(crate) fn sign_asked(identity: &Identity, asked: Asked, now: u64, nonce: [u8; 16]) -> Self {
        let Asked { request, form, read } = asked;
        let stamp = Stamp { key: identity.public_key(), time: now, nonce };
        let signature = stamp.covering(&form, |parts| identity.sign(Domain::Request, parts));
        Self { request, form, read, stamp, signature }
    }

    /// Reads a request that came over HTTP. `path` includes the query; `authorization` is the
    /// header of that name. Nothing is verified yet.
    ///
    /// # Errors
    /// The refusal to answer with, when something is no request or carries no readable signature.
    pub fn from_http(
        method: &str,
        path: &str,
        body: &[u8],
        authorization: &str,
    ) -> Result<Self, SignalingError> {
        let form = HttpForm { method: method.to_owned(), path: path.to_owned(), body: body.to_vec() };
        let request = wire::decode(&form)?;
        Self::from_parts(request, form, authorization)
    }

    pub(crate) fn from_parts(
        request: Request,
        form: HttpForm,
        authorization: &str,
    ) -> Result<Self, SignalingError> {
        let (stamp, signature) = parse_authorization(authorization).ok_or_else(|| {
            let message = "the authorization header is not `Everlink KEY.TIME.NONCE.SIGNATURE`";
            SignalingError::refused(ErrorCode::Unsigned, message)
        })?;
        Ok(Self { request, form, read: host::read_answer, stamp, signature })
    }

    /// The request.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Who signed it, or claims to.
    pub fn key(&self) -> PublicKey {
        self.stamp.key
    }

    /// The answer in `body`.
    #[cfg(feature = "http")]
    pub(crate) fn read(&self, body: &[u8]) -> Result<Response, Bad> {
        (self.read)(&self.request, body)
    }

    /// The HTTP method it is sent with.
    pub fn method(&self) -> &str {
        &self.form.method
    }

    /// The path and query it is sent to, from `/v1/` on.
    pub fn path(&self) -> &str {
        &self.form.path
    }

    /// The body it is sent with; empty if there is none.
    pub fn body(&self) -> &[u8] {
        &self.form.body
    }

    /// The `authorization` header it is sent with.
    pub fn authorization(&self) -> String {
        let Stamp { key, time, nonce } = self.stamp;
        format!("Everlink {key}.{time}.{}.{}", crate::base64url::encode(nonce), self.signature)
    }

    /// Checks signature and time against the wall clock `now` (milliseconds since 1970), and the
    /// signatures of the offers within.
    ///
    /// # Errors
    /// `bad_signature` or `stale`. Whether the request was seen before is the directory's to say.
    pub fn verify(self, now: u64) -> Result<Verified, SignalingError> {
        let key = self.stamp.key;
        let authentic =
            self.stamp.covering(&self.form, |parts| key.verifies(Domain::Request, parts, &self.signature));
        if !authentic {
            let message = "the signature does not fit the request";
            return Err(SignalingError::refused(ErrorCode::BadSignature, message));
        }
        if self.stamp.time.abs_diff(now) > TOLERANCE_MS {
            let message = format!("the request is of {}, and the server's clock says {now}", self.stamp.time);
            return Err(SignalingError::refused(ErrorCode::Stale, message));
        }
        let (uuid, offers) = match &self.request {
            Request::Publish(publish) => (publish.uuid, publish.offers.as_slice()),
            Request::AddOffers { uuid, offers, .. } => (*uuid, offers.as_slice()),
            _ => return Ok(Verified { request: self.request, stamp: Some(self.stamp) }),
        };
        for offer in offers {
            if !verify_offer(&key, &uuid, &offer.id, &offer.sdp, &offer.signature) {
                let message = format!("the signature of offer {} does not fit its description", offer.id);
                return Err(SignalingError::refused(ErrorCode::BadSignature, message));
            }
        }
        Ok(Verified { request: self.request, stamp: Some(self.stamp) })
    }
}

impl std::fmt::Debug for SignedRequest {
    // Bodies hold access tokens and session descriptions, which no log should.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignedRequest({} {} by {})", self.form.method, self.form.path, self.stamp.key)
    }
}

impl Stamp {
    /// Gives `with` the parts that a request's signature covers.
    fn covering<T>(&self, form: &HttpForm, with: impl FnOnce(&[&[u8]]) -> T) -> T {
        let body = Sha256::digest(&form.body);
        with(&[
            form.method.as_bytes(),
            form.path.as_bytes(),
            body.as_slice(),
            &self.nonce,
            &self.time.to_be_bytes(),
            self.key.as_bytes(),
        ])
    }
}

fn parse_authorization(header: &str) -> Option<(Stamp, Signature)> {
    let mut parts = header.strip_prefix("Everlink ")?.split('.');
    let (key, time, nonce, signature) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let nonce = *nonce.parse::<OfferId>().ok()?.as_bytes();
    Some((Stamp { key: key.parse().ok()?, time: time.parse().ok()?, nonce }, signature.parse().ok()?))
}

/// A request whose author is proven, or that needs none. Only this is what a
/// [`Directory`](super::directory::Directory) handles.
#[derive(Clone, Debug)]
pub struct Verified {
    pub(crate) request: Request,
    pub(crate) stamp: Option<Stamp>,
}

impl Verified {
    /// A request by nobody in particular.
    ///
    /// # Errors
    /// `unsigned`, for anything but [`Request::Owner`], [`Request::List`] and [`Request::Resolve`].
    pub fn anonymous(request: Request) -> Result<Self, SignalingError> {
        if wire::may_be_unsigned(&request) {
            Ok(Self { request, stamp: None })
        } else {
            Err(SignalingError::refused(ErrorCode::Unsigned, "this request must be signed"))
        }
    }
}

impl Verified {
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    pub(crate) fn asks_for_events(&self) -> bool {
        matches!(self.request, Request::Events { .. })
    }
}

/// The host's signature over a description that it offers.
pub(crate) fn sign_offer(host: &Identity, service: &ServiceUuid, offer: &OfferId, sdp: &str) -> Signature {
    host.sign(Domain::Offer, &[service.as_bytes(), offer.as_bytes(), sdp.as_bytes()])
}

/// Whether `host` signed this description as this offer for this service.
pub(crate) fn verify_offer(
    host: &PublicKey,
    service: &ServiceUuid,
    offer: &OfferId,
    sdp: &str,
    signature: &Signature,
) -> bool {
    host.verifies(Domain::Offer, &[service.as_bytes(), offer.as_bytes(), sdp.as_bytes()], signature)
}

/// The peer's signature over the description that it answers with. It covers the offer as the peer
/// saw it, so that the host learns of one that was changed on the way.
pub(crate) fn sign_answer(
    peer: &Identity,
    service: &ServiceUuid,
    offer: &OfferId,
    offer_sdp: &str,
    answer_sdp: &str,
) -> Signature {
    let parts: [&[u8]; 4] =
        [service.as_bytes(), offer.as_bytes(), offer_sdp.as_bytes(), answer_sdp.as_bytes()];
    peer.sign(Domain::Answer, &parts)
}

/// Whether `peer` signed this answer to exactly this offer.
pub(crate) fn verify_answer(
    peer: &PublicKey,
    service: &ServiceUuid,
    offer: &OfferId,
    offer_sdp: &str,
    answer_sdp: &str,
    signature: &Signature,
) -> bool {
    let parts: [&[u8]; 4] =
        [service.as_bytes(), offer.as_bytes(), offer_sdp.as_bytes(), answer_sdp.as_bytes()];
    peer.verifies(Domain::Answer, &parts, signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signaling::wire::tests::all_requests;

    const NOW: u64 = 1_700_000_000_000;

    fn signed(request: Request) -> SignedRequest {
        SignedRequest::sign(&Identity::from_secret([7; 32]), request, NOW, [9; 16])
    }

    #[test]
    fn every_request_is_verified_after_http() {
        for request in all_requests() {
            let signed = signed(request);
            let got = SignedRequest::from_http(
                signed.method(),
                signed.path(),
                signed.body(),
                &signed.authorization(),
            )
            .unwrap();
            assert_eq!(got.request(), signed.request());
            let verified = got.verify(NOW).unwrap();
            assert_eq!(verified.stamp.map(|stamp| stamp.key), Some(signed.key()));
        }
    }

    #[test]
    fn a_change_of_anything_breaks_the_signature() {
        let all = all_requests();
        let original = signed(all[9].clone());
        let code = |request: SignedRequest| request.verify(NOW).unwrap_err().code();
        let mut changed: Vec<SignedRequest> = Vec::new();
        let mut with = |change: &dyn Fn(&mut SignedRequest)| {
            let mut copy = original.clone();
            change(&mut copy);
            changed.push(copy);
        };
        with(&|r| r.form.method = "PUT".into());
        with(&|r| r.form.path.push('?'));
        with(&|r| r.form.body.push(b' '));
        with(&|r| r.stamp.nonce[0] ^= 1);
        with(&|r| r.stamp.time += 1);
        with(&|r| r.stamp.key = Identity::from_secret([8; 32]).public_key());
        with(&|r| r.signature.0[3] ^= 1);
        for request in changed {
            assert_eq!(code(request), Some(ErrorCode::BadSignature));
        }
        assert!(original.verify(NOW).is_ok());
    }

    #[test]
    fn an_offer_that_its_host_did_not_sign_is_refused_before_the_directory() {
        for index in [3, 7] {
            let mut request = all_requests().remove(index);
            let (Request::Publish(super::super::Publish { offers, .. }) | Request::AddOffers { offers, .. }) =
                &mut request
            else {
                panic!("no offers in {request:?}")
            };
            offers[0].sdp.push('x');
            assert_eq!(signed(request).verify(NOW).unwrap_err().code(), Some(ErrorCode::BadSignature));
        }
    }

    #[test]
    fn the_window_is_five_minutes_either_way() {
        let request = signed(all_requests()[0].clone());
        for (now, good) in [
            (NOW + TOLERANCE_MS, true),
            (NOW - TOLERANCE_MS, true),
            (NOW + TOLERANCE_MS + 1, false),
            (NOW - TOLERANCE_MS - 1, false),
        ] {
            match request.clone().verify(now) {
                Ok(_) => assert!(good),
                Err(error) => assert!(!good && error.code() == Some(ErrorCode::Stale)),
            }
        }
    }

    #[test]
    fn a_header_that_is_none_is_unsigned() {
        let form = wire::encode(&all_requests()[0]);
        for header in ["", "Bearer x", "Everlink", "Everlink a.b.c.d", "Everlink a.1.c", "Everlink ...."] {
            let error = SignedRequest::from_http(&form.method, &form.path, &form.body, header).unwrap_err();
            assert_eq!(error.code(), Some(ErrorCode::Unsigned), "{header}");
        }
    }

    #[test]
    fn descriptions_are_bound_to_service_offer_and_each_other() {
        let (host, peer) = (Identity::from_secret([1; 32]), Identity::from_secret([2; 32]));
        let Request::Withdraw { uuid } = all_requests().remove(4) else { panic!() };
        let (id, other) = (OfferId::from_bytes([1; 16]), OfferId::from_bytes([2; 16]));
        let offer = sign_offer(&host, &uuid, &id, "offer");
        assert!(verify_offer(&host.public_key(), &uuid, &id, "offer", &offer));
        assert!(!verify_offer(&host.public_key(), &uuid, &id, "other", &offer));
        assert!(!verify_offer(&host.public_key(), &uuid, &other, "offer", &offer));
        assert!(!verify_offer(&peer.public_key(), &uuid, &id, "offer", &offer));

        let answer = sign_answer(&peer, &uuid, &id, "offer", "answer");
        assert!(verify_answer(&peer.public_key(), &uuid, &id, "offer", "answer", &answer));
        assert!(!verify_answer(&peer.public_key(), &uuid, &id, "swapped", "answer", &answer));
        assert!(!verify_answer(&peer.public_key(), &uuid, &id, "offer", "swapped", &answer));
        assert!(!verify_answer(&host.public_key(), &uuid, &id, "offer", "answer", &answer));
    }
}
