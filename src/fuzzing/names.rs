//! Everything with a text form.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use crate::identity::{PublicKey, Signature};
use crate::signaling::{OfferId, ServiceFqn, ServiceQuery, ServiceUuid, Username};

/// One name to a line. What can be read is the same when it is written and read again, and fits
/// where names go: into a path, and into JSON.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut services = vec![];
    let mut queries = vec![];
    for line in text.split('\n').take(16) {
        if let Some(user) = again::<Username>(line) {
            assert_eq!(user.as_str(), line, "a username has one form");
            assert!((3..=32).contains(&line.len()) && line.is_ascii());
        }
        if let Some(service) = again::<ServiceFqn>(line) {
            assert!(line.len() <= 256, "a name of {} bytes", line.len());
            assert!(!line.contains(['/', '?', '#', ' ']), "{line:?} does not fit into a path");
            let query = ServiceQuery::from(service.clone());
            assert!(query.matches(&service), "{service} does not match itself");
            services.push(service);
        }
        queries.extend(again::<ServiceQuery>(line));
        again::<ServiceUuid>(line);
        again::<OfferId>(line);
        again::<PublicKey>(line);
        again::<Signature>(line);
    }
    for query in &queries {
        for service in &services {
            let matches = query.matches(service);
            assert!(!matches || query.name() == service.name());
            // What a peer asks for is asked for in its text form.
            let text: ServiceQuery = query.to_string().parse().expect("what we wrote");
            assert_eq!(text.matches(service), matches, "{query} and {service}");
        }
    }
}

fn again<T: FromStr + Display + PartialEq + Debug>(text: &str) -> Option<T>
where
    T::Err: Debug,
{
    let value: T = text.parse().ok()?;
    let written = value.to_string();
    match written.parse::<T>() {
        Ok(read) => assert_eq!(read, value, "{text:?} was written as {written:?}"),
        Err(error) => panic!("{text:?} was written as {written:?}: {error:?}"),
    }
    Some(value)
}
