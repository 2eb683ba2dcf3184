//! Links to rooms, to be shared.

use std::fmt;
use std::str::FromStr;

use crate::signaling::ServiceUuid;
use crate::signaling::wire::{percent_decoded, percent_encoded};

/// A link to a room: what its host shares, and others join by.
///
/// ```
/// use everlink::tutorial::TutorialLink;
///
/// let uuid: everlink::signaling::ServiceUuid = "0b7f7e6e-6e1c-8f3a-9b1e-2f5a8c1d4e70".parse()?;
/// let link = TutorialLink { server: Some("https://example.org".into()), room: uuid };
/// assert_eq!(link.to_string(), format!("everlink://{uuid}?server=https%3A%2F%2Fexample.org"));
/// assert_eq!(link.web().as_deref(), Some(format!("https://example.org/tutorial#{uuid}").as_str()));
///
/// // Both are read, and a bare uuid.
/// assert_eq!(link.to_string().parse(), Ok(link.clone()));
/// assert_eq!(link.web().unwrap().parse(), Ok(link));
/// assert_eq!(uuid.to_string().parse(), Ok(TutorialLink { server: None, room: uuid }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TutorialLink {
    /// The signaling server, as `http(s)://host[:port]`, if the link says it.
    pub server: Option<String>,
    /// The room's service: its uuid, which nobody can guess, and by which members know that it is the room.
    pub room: ServiceUuid,
}

/// A text that is no link to a room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no link to a tutorial: expected everlink://UUID?server=URL, URL/tutorial#UUID or a uuid; copy the whole link"
)]
pub struct ParseLinkError;

impl TutorialLink {
    /// The page that follows the tutorial in a browser, if the link says where: `everlink serve` has it.
    pub fn web(&self) -> Option<String> {
        self.server.as_ref().map(|server| format!("{}/tutorial#{}", server.trim_end_matches('/'), self.room))
    }
}

impl fmt::Display for TutorialLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "everlink://{}", self.room)?;
        match &self.server {
            Some(server) => write!(f, "?server={}", percent_encoded(server)),
            None => Ok(()),
        }
    }
}

impl FromStr for TutorialLink {
    type Err = ParseLinkError;

    fn from_str(text: &str) -> Result<Self, ParseLinkError> {
        let text = text.trim();
        let room = |text: &str| text.parse::<ServiceUuid>().map_err(|_| ParseLinkError);
        if let Some(rest) = text.strip_prefix("everlink://") {
            let (uuid, query) = rest.split_once('?').unwrap_or((rest, ""));
            let server = query.split('&').find_map(|pair| pair.strip_prefix("server="));
            let server = server.map(|server| percent_decoded(server).ok_or(ParseLinkError)).transpose()?;
            return match server {
                Some(server) if !is_server(&server) => Err(ParseLinkError),
                server => Ok(Self { server, room: room(uuid.trim_end_matches('/'))? }),
            };
        }
        if let Some((page, uuid)) = text.split_once('#') {
            let page = page.split('?').next().unwrap_or(page).trim_end_matches('/');
            let server =
                page.strip_suffix("/tutorial").filter(|server| is_server(server)).ok_or(ParseLinkError)?;
            return Ok(Self { server: Some(server.into()), room: room(uuid)? });
        }
        Ok(Self { server: None, room: room(text)? })
    }
}

fn is_server(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty() && !host.contains(|char: char| char.is_whitespace() || char.is_control())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_link_is_refused() {
        for bad in [
            "",
            "everlink://",
            "everlink://x",
            "https://example.org/tutorial#",
            "https://example.org/try#x",
            "#",
            "%",
        ] {
            assert_eq!(bad.parse::<TutorialLink>(), Err(ParseLinkError), "{bad}");
        }
        let uuid: ServiceUuid = "0b7f7e6e-6e1c-8f3a-9b1e-2f5a8c1d4e70".parse().unwrap();
        for bad in [
            "everlink://{}?server=%",
            "everlink://{}?server=file%3A%2F%2Fx",
            "everlink://{}?server=%ff",
            "ftp://x/tutorial#{}",
        ] {
            let bad = bad.replace("{}", &uuid.to_string());
            assert_eq!(bad.parse::<TutorialLink>(), Err(ParseLinkError), "{bad}");
        }
    }
}
