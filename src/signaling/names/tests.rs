//! Each name keeps its rules, and its text.

use super::*;
use crate::identity::Identity;

fn fqn(text: &str) -> ServiceFqn {
    text.parse().unwrap()
}

#[test]
fn usernames_keep_their_rules() {
    for good in ["abc", "a-b", "a1-2b", "007", &"a".repeat(32)] {
        assert_eq!(Username::new(good).unwrap().to_string(), good);
    }
    for bad in ["", "ab", "-ab", "ab-", "Abc", "a b", "a_b", "äöü", "a/b", &"a".repeat(33)] {
        assert!(matches!(Username::new(bad), Err(NameError::Username(_))), "{bad}");
    }
}

#[test]
fn services_are_short_or_reverse_domain_with_a_full_version() {
    for good in ["chat@1.0.0", "c@0.0.1", "com.example.chat@1.2.3-beta.1+build.5", "a-b.c-d@10.20.30"] {
        assert_eq!(fqn(good).to_string(), good);
    }
    use NameError as E;
    assert!(matches!(ServiceFqn::try_from("chat"), Err(E::NoVersion(_))));
    for bad in ["@1.0.0", "Chat@1.0.0", "a..b@1.0.0", ".a@1.0.0", "a.@1.0.0", "-a@1.0.0", "a-.b@1.0.0"] {
        assert!(matches!(ServiceFqn::try_from(bad), Err(E::ServiceName(_))), "{bad}");
    }
    let long = format!("{}@1.0.0", "a".repeat(129));
    assert!(matches!(ServiceFqn::try_from(long), Err(E::ServiceName(_))));
    let huge = format!("a@1.0.0-{}", "a".repeat(200));
    for bad in ["a@", "a@1", "a@1.2", "a@01.2.3", "a@1.2.3-", "a@v1.2.3", "a@1.0.0@2", &huge] {
        assert!(matches!(ServiceFqn::try_from(bad), Err(E::Version(_))), "{bad}");
    }
}

#[test]
fn a_query_is_the_same_when_it_is_written_and_read_again() {
    for text in ["chat@=1.2.3+c ", "chat@ = 1.2.3+c", "chat@>=1,<2", "chat@ ^1.2 ", "chat@1.2.3 "] {
        let query: ServiceQuery = text.parse().unwrap();
        assert_eq!(query.to_string().parse::<ServiceQuery>().unwrap(), query, "{text}");
    }
    let exact: ServiceQuery = "chat@=1.2.3+c ".parse().unwrap();
    assert!(exact.matches(&fqn("chat@1.2.3+c")) && !exact.matches(&fqn("chat@1.2.3+d")));
    // One that fits as it came, and not as it would be written.
    let long = format!("chat@{}", [">11"; 32].join(","));
    assert!(matches!(long.parse::<ServiceQuery>(), Err(NameError::Requirement(_))));
}

#[test]
fn queries_match_as_asked() {
    let cases: &[(&str, &str, bool)] = &[
        ("chat@1.2.3", "chat@1.2.3", true),
        ("chat@=1.2.3", "chat@1.2.3", true),
        ("chat@1.2.3", "chat@1.2.4", false),
        ("chat@1.2.3", "talk@1.2.3", false),
        ("chat@1.2.3", "chat@1.2.3+b1", true),
        ("chat@1.2.3+b2", "chat@1.2.3+b1", false),
        ("chat@1.2.3", "chat@1.2.3-rc.1", false),
        ("chat@1.2.3-rc.1", "chat@1.2.3-rc.1", true),
        ("chat@1.2.3-rc.1", "chat@1.2.3", false),
        ("chat@1", "chat@1.9.9", true),
        ("chat@1", "chat@2.0.0", false),
        ("chat@1", "chat@1.9.9-rc.1", false),
        ("chat@^1.2", "chat@1.2.0", true),
        ("chat@^1.2", "chat@1.1.9", false),
        ("chat@^0.2", "chat@0.3.0", false),
        ("chat@^1.2.3-rc.1", "chat@1.2.3-rc.2", true),
        ("chat@^1.2.3-rc.1", "chat@1.3.0-rc.1", false),
        ("chat@~1.2.3", "chat@1.2.9", true),
        ("chat@*", "chat@7.0.0", true),
        ("chat@>=1.2, <1.5", "chat@1.4.0", true),
    ];
    for (query, service, expected) in cases {
        let parsed: ServiceQuery = query.parse().unwrap();
        assert_eq!(parsed.matches(&fqn(service)), *expected, "{query} {service}");
        let again: ServiceQuery = parsed.to_string().parse().unwrap();
        assert_eq!(parsed, again, "text form of {query}");
    }
    for bad in ["chat@", "chat@x.y", "chat@latest", "chat@1.2.3.4"] {
        assert!(matches!(ServiceQuery::try_from(bad), Err(NameError::Requirement(_))), "{bad}");
    }
}

#[test]
fn uuids_commit_to_everything_they_name() {
    let owner = Identity::from_secret([7; 32]).public_key();
    let user = Username::new("alice").unwrap();
    let uuid = ServiceUuid::derive(&owner, &user, &fqn("chat@1.0.0"), &[1; 16]);
    assert_eq!(uuid, ServiceUuid::derive(&owner, &user, &fqn("chat@1.0.0"), &[1; 16]));
    let text = uuid.to_string();
    assert_eq!(text.parse::<ServiceUuid>().unwrap(), uuid);
    assert_eq!(text.to_uppercase().parse::<ServiceUuid>().unwrap(), uuid);
    assert_eq!((text.len(), &text[14..15]), (36, "8"));

    let other = Identity::from_secret([8; 32]).public_key();
    let bob = Username::new("bob").unwrap();
    for different in [
        ServiceUuid::derive(&other, &user, &fqn("chat@1.0.0"), &[1; 16]),
        ServiceUuid::derive(&owner, &bob, &fqn("chat@1.0.0"), &[1; 16]),
        ServiceUuid::derive(&owner, &user, &fqn("chat@1.0.1"), &[1; 16]),
        ServiceUuid::derive(&owner, &user, &fqn("chat@1.0.0"), &[2; 16]),
    ] {
        assert_ne!(different, uuid);
    }
    let version4 = "123e4567-e89b-42d3-a456-426614174000";
    for bad in ["", "x", version4, &text[1..], &text.replace('-', "0"), "äöüäöüäöüäöüäöüäöü"]
    {
        assert!(matches!(ServiceUuid::try_from(bad), Err(NameError::Uuid(_))), "{bad}");
    }
}

#[test]
fn offer_ids_survive_their_text() {
    let id = OfferId::random();
    assert_eq!(id.to_string().parse::<OfferId>().unwrap(), id);
    assert_eq!(serde_json::from_str::<OfferId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    for bad in ["", "AAAA", "====", &"A".repeat(23), &"A".repeat(300)] {
        assert!(OfferId::try_from(bad).is_err(), "{bad}");
    }
}

#[test]
fn errors_say_what_is_allowed_and_stay_short() {
    let error = Username::new("X".repeat(10_000)).unwrap_err().to_string();
    assert!(error.contains("3 to 32") && error.len() < 250, "{error}");
}
