//! Requests of those who host: all there are, where who only connects asks four.

use crate::signaling::wire::read::{self, Bad};
use crate::signaling::wire::{self, Asked};
use crate::signaling::{Request, Response};

/// Any request, as it is carried. With what it calls it belongs to the part of the npm package that
/// hosts (see [`Asked`]), and is found there by the name of the module above.
pub(crate) fn asked(request: Request) -> Asked {
    Asked { form: wire::encode(&request), request, read: read_answer }
}

/// Reads the answer to any request.
pub(crate) fn read_answer(request: &Request, body: &[u8]) -> Result<Response, Bad> {
    read::response(request, body)
}
