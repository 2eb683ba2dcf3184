//! Where a repository is published.

/// The remote `origin` as an address for a browser, without a name or password in it. `None` for a path on this machine,
/// which is nobody's business.
pub fn origin(repository: &gix::Repository) -> Option<String> {
    let url = repository.config_snapshot().string("remote.origin.url")?;
    for_browser(std::str::from_utf8(&url).ok()?)
}

fn for_browser(url: &str) -> Option<String> {
    let (host, path) = match url.split_once("://") {
        Some(("http" | "https" | "ssh" | "git", rest)) => rest.split_once('/')?,
        Some(_) => return None,
        // As in git@example.org:owner/name.git.
        None => url.split_once(':').filter(|(host, _)| host.len() > 1 && !host.contains(['/', '\\']))?,
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    // A port of SSH is none of HTTP; one of HTTP belongs to the address.
    let host = if url.starts_with("http") { host } else { host.split(':').next().unwrap_or(host) };
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let clean =
        |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    (clean(host) && clean(path)).then(|| {
        let scheme = if url.starts_with("http://") { "http" } else { "https" };
        format!("{scheme}://{host}/{path}")
    })
}

/// `owner/name` of such an address.
pub fn owner_and_name(url: &str) -> Option<String> {
    let (_, path) = url.split_once("://")?.1.split_once('/')?;
    let mut parts = path.rsplit('/');
    let (name, owner) = (parts.next()?, parts.next()?);
    Some(format!("{owner}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_secrets_and_no_paths_of_this_machine() {
        for (url, expected) in [
            ("https://github.com/a/b.git", Some("https://github.com/a/b")),
            ("https://me:secret@github.com/a/b", Some("https://github.com/a/b")),
            ("http://me@localhost:3000/a/b.git/", Some("http://localhost:3000/a/b")),
            ("git@github.com:a/b.git", Some("https://github.com/a/b")),
            ("ssh://git@example.org:2222/a/b.git", Some("https://example.org/a/b")),
            ("/home/me/b", None),
            ("../b", None),
            ("C:\\b", None),
            ("file:///home/me/b", None),
            ("https://", None),
            ("", None),
        ] {
            assert_eq!(for_browser(url).as_deref(), expected, "{url}");
        }
        assert_eq!(owner_and_name("https://github.com/a/b").as_deref(), Some("a/b"));
        assert_eq!(owner_and_name("https://github.com/b"), None);
    }
}
